"""From a loaded spec to the core: names, types, steps.  Entered through `hmmspec.system.build`."""
