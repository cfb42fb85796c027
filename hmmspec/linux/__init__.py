"""Real Linux kernels: building images, and running them in a virtual machine."""
