"""The safety core: limits, modes, gate and fallback. Standard library only; see README.md."""
