"""C for the steps and properties of a System, and the engine that explores with it."""
