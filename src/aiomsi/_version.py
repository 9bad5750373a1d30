"""The version, as a constant: to look it up among the installed packages takes longer than to import half of this one."""

VERSION = "0.1.0"
