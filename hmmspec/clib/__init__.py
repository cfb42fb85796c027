"""C text as a shared library: the machine's compiler (`compile.py`), and what was compiled before (`cache.py`)."""
