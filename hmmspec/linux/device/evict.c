/* Whether somebody still has memory of this chunk: a fault that had a page when all were to move, for one. */
static bool dmirror_in_use(const struct dmirror_chunk *chunk)
{
	unsigned long pfn = chunk->pagemap.range.start >> PAGE_SHIFT;

	for (; pfn <= chunk->pagemap.range.end >> PAGE_SHIFT; pfn++)
		if (page_count(pfn_to_page(pfn)))
			return true;
	return false;
}
