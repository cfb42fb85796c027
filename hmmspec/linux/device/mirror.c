/* The device's own migration: its mappings stay, but whoever is about to store new ones has to look again. */
static bool dmirror_noticed(struct dmirror *dmirror, const struct mmu_notifier_range *range, unsigned long seq)
{
	if (mmu_notifier_range_blockable(range))
		mutex_lock(&dmirror->mutex);
	else if (!mutex_trylock(&dmirror->mutex))
		return false;
	mmu_interval_set_seq(&dmirror->notifier, seq);
	mutex_unlock(&dmirror->mutex);
	return true;
}

/* Nobody uses what the device has of a page from now on: its contents are about to be copied. */
static void *dmirror_take(struct dmirror *dmirror, unsigned long addr)
{
	void *entry;

	mutex_lock(&dmirror->mutex);
	entry = xa_erase(&dmirror->pt, addr >> PAGE_SHIFT);
	mutex_unlock(&dmirror->mutex);
	return entry;
}

/*
 * After a migration: map the pages that moved, and map again those that did not, as far as they are still there.
 * mmap_lock is held for reading.
 */
static noinline void dmirror_map_moved(struct migrate_vma *args, struct dmirror *dmirror, void **before)
{
	unsigned long there[64] = { 0 }, i;
	struct hmm_range range = {
		.notifier = &dmirror->notifier,
		.start = args->start,
		.end = args->end,
		.hmm_pfns = there,
		.dev_private_owner = dmirror->mdevice,
	};

	for (;;) {
		int ret;

		range.notifier_seq = mmu_interval_read_begin(range.notifier);
		ret = hmm_range_fault(&range);
		if (ret && ret != -EBUSY)
			return;
		mutex_lock(&dmirror->mutex);
		if (!ret && !mmu_interval_read_retry(range.notifier, range.notifier_seq))
			break;
		mutex_unlock(&dmirror->mutex);
		cond_resched();
	}
	for (i = 0; i < args->npages; i++) {
		struct page *page = hmm_pfn_to_page(there[i]), *moved = NULL;
		void *entry;

		if (!(there[i] & HMM_PFN_VALID))
			continue;
		if (args->src[i] & MIGRATE_PFN_MIGRATE)
			moved = migrate_pfn_to_page(args->dst[i]);
		if (page == moved)
			entry = BACKING_PAGE(page);
		else if (before[i] && page == xa_untag_pointer(before[i]))
			entry = page;
		else
			continue;
		if (there[i] & HMM_PFN_WRITE && (page == moved || xa_pointer_tag(before[i]) == DPT_XA_TAG_WRITE))
			entry = xa_tag_pointer(entry, DPT_XA_TAG_WRITE);
		xa_store(&dmirror->pt, (args->start >> PAGE_SHIFT) + i, entry, GFP_ATOMIC);
	}
	mutex_unlock(&dmirror->mutex);
}

/* Whether a locked page is the device's alone at an address: who unmaps it there does not ask for its lock. */
static bool dmirror_is_exclusive(struct mm_struct *mm, unsigned long addr, struct page *page)
{
	struct vm_area_struct *vma = vma_lookup(mm, addr);
	bool exclusive = false;

	if (vma && page) {
		struct page_vma_mapped_walk walk = { .pfn = page_to_pfn(page), .nr_pages = 1, .vma = vma, .address = addr };

		if (page_vma_mapped_walk(&walk)) {
			pte_t pte = walk.pte ? ptep_get(walk.pte) : __pte(0);

			exclusive = is_swap_pte(pte) && is_device_exclusive_entry(pte_to_swp_entry(pte));
			page_vma_mapped_walk_done(&walk);
		}
	}
	return exclusive;
}

/* Which pages of a range are; the device's mutex is held afterwards, and until then nothing will have changed. */
static noinline void dmirror_lock_exclusive(struct dmirror *dmirror, unsigned long start, unsigned long end,
					    struct page **pages, bool *exclusive)
{
	unsigned long seq, i;

	for (;;) {
		seq = mmu_interval_read_begin(&dmirror->notifier);
		for (i = 0; i < (end - start) >> PAGE_SHIFT; i++)
			exclusive[i] = dmirror_is_exclusive(dmirror->notifier.mm, start + (i << PAGE_SHIFT), pages[i]);
		mutex_lock(&dmirror->mutex);
		if (!mmu_interval_read_retry(&dmirror->notifier, seq))
			return;
		mutex_unlock(&dmirror->mutex);
		cond_resched();
	}
}
