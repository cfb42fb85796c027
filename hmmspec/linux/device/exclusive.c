#include <linux/pagewalk.h>
#include <linux/pid_namespace.h>

/* Held for writing while memory is taken back: until then no page becomes exclusive. */
static DECLARE_RWSEM(dmirror_evicting);

/* A page of this device, exclusive for some device; with a reference. */
struct dmirror_exclusive_page {
	const struct dmirror_device *mdevice;
	struct folio *folio;
	unsigned long addr;
};

/* What is mapped by a large entry is not exclusive; a walk that looked at its pages would split it. */
static int dmirror_see_large(pmd_t *pmd, unsigned long addr, unsigned long next, struct mm_walk *walk)
{
	pmd_t old = pmdp_get(pmd);

	if (!pmd_present(old) || pmd_leaf(old))
		walk->action = ACTION_CONTINUE;
	return 0;
}

static int dmirror_see_exclusive(pte_t *pte, unsigned long addr, unsigned long next, struct mm_walk *walk)
{
	struct dmirror_exclusive_page *found = walk->private;
	pte_t old = ptep_get(pte);
	struct page *page;

	if (!is_swap_pte(old) || !is_device_exclusive_entry(pte_to_swp_entry(old)))
		return 0;
	page = pfn_swap_entry_to_page(pte_to_swp_entry(old));
	if (!is_device_coherent_page(page) ||
	    container_of(page->pgmap, struct dmirror_chunk, pagemap)->mdevice != found->mdevice)
		return 0;
	found->folio = page_folio(page);
	found->addr = addr;
	folio_get(found->folio);
	return 1;
}

/* The page is mapped again, for reading only, as migration leaves it.  The mapping has had its reference. */
static void dmirror_map_exclusive(struct vm_area_struct *vma, unsigned long addr, struct folio *folio)
{
	DEFINE_FOLIO_VMA_WALK(walk, folio, vma, addr, 0);
	struct mmu_notifier_range range;

	mmu_notifier_range_init_owner(&range, MMU_NOTIFY_EXCLUSIVE, 0, vma->vm_mm, addr, addr + PAGE_SIZE, NULL);
	mmu_notifier_invalidate_range_start(&range);
	while (page_vma_mapped_walk(&walk)) {
		pte_t old = ptep_get(walk.pte), pte = pte_mkold(mk_pte(&folio->page, READ_ONCE(vma->vm_page_prot)));

		if (!is_swap_pte(old) || !is_device_exclusive_entry(pte_to_swp_entry(old)))
			continue;
		pte = pte_swp_soft_dirty(old) ? pte_mksoft_dirty(pte) : pte_clear_soft_dirty(pte);
		if (pte_swp_uffd_wp(old))
			pte = pte_mkuffd_wp(pte);
		folio_add_anon_rmap_pte(folio, &folio->page, vma, walk.address, RMAP_EXCLUSIVE);
		set_pte_at(vma->vm_mm, walk.address, walk.pte, pte);
	}
	mmu_notifier_invalidate_range_end(&range);
}

static void dmirror_end_exclusive_of(struct mm_struct *mm, const struct dmirror_device *mdevice)
{
	static const struct mm_walk_ops ops = {
		.pmd_entry = dmirror_see_large,
		.pte_entry = dmirror_see_exclusive,
	};
	struct dmirror_exclusive_page found = { .mdevice = mdevice };

	mmap_read_lock(mm);
	while (walk_page_range(mm, found.addr, TASK_SIZE, &ops, &found) > 0) {
		folio_lock(found.folio);
		dmirror_map_exclusive(vma_lookup(mm, found.addr), found.addr, found.folio);
		folio_unlock(found.folio);
		folio_put(found.folio);
		found.addr += PAGE_SIZE;
	}
	mmap_read_unlock(mm);
}

/*
 * Pages that are exclusive count as unmapped: migrate_device_range() leaves their entries where they are, so that they
 * cannot move, and what restores the entries loses references.  So nothing is exclusive before that.
 */
static void dmirror_end_exclusive(const struct dmirror_device *mdevice)
{
	struct task_struct *task;
	struct mm_struct *mm;
	struct pid *pid;
	int number = 0;

	do {
		rcu_read_lock();
		pid = find_ge_pid(number + 1, &init_pid_ns);
		task = pid ? get_pid_task(pid, PIDTYPE_TGID) : NULL;
		number = pid ? pid_nr(pid) : 0;
		rcu_read_unlock();
		mm = task ? get_task_mm(task) : NULL;
		if (mm) {
			dmirror_end_exclusive_of(mm, mdevice);
			mmput(mm);
		}
		if (task)
			put_task_struct(task);
	} while (number);
}
