"""Sizes of virtual machines, and images of the marketplace: a small part of Azure's.

Sources: https://learn.microsoft.com/azure/virtual-machines/sizes/overview,
https://learn.microsoft.com/azure/virtual-machines/linux/cli-ps-findimage
"""

from __future__ import annotations

SIZES: tuple[tuple[str, str, int, int, int], ...] = (
    ("Standard_B1s", "standardBSFamily", 1, 1, 2),
    ("Standard_B2s", "standardBSFamily", 2, 4, 4),
    ("Standard_B2ms", "standardBSFamily", 2, 8, 4),
    ("Standard_D2s_v3", "standardDSv3Family", 2, 8, 4),
    ("Standard_D4s_v3", "standardDSv3Family", 4, 16, 8),
    ("Standard_DS1_v2", "standardDSv2Family", 1, 3, 4),
    ("Standard_D2s_v5", "standardDSv5Family", 2, 8, 4),
    ("Standard_D4s_v5", "standardDSv5Family", 4, 16, 8),
    ("Standard_D8s_v5", "standardDSv5Family", 8, 32, 16),
    ("Standard_E2s_v5", "standardESv5Family", 2, 16, 4),
    ("Standard_E4s_v5", "standardESv5Family", 4, 32, 8),
    ("Standard_F2s_v2", "standardFSv2Family", 2, 4, 4),
)
"""Each size: name, family, number of processors, GB of memory, most data disks."""

DISK_SKUS = ("Standard_LRS", "StandardSSD_LRS", "Premium_LRS", "PremiumV2_LRS", "UltraSSD_LRS")

IMAGES: tuple[tuple[str, str, str, str, str], ...] = (
    ("Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts-gen2", "22.04.202610010", "Linux"),
    ("Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts", "22.04.202610010", "Linux"),
    ("Canonical", "ubuntu-24_04-lts", "server", "24.04.202610010", "Linux"),
    ("Debian", "debian-12", "12-gen2", "0.20261001.2250", "Linux"),
    ("Debian", "debian-11", "11-backports-gen2", "0.20261001.2250", "Linux"),
    ("MicrosoftWindowsServer", "WindowsServer", "2022-datacenter-g2", "20348.4000.1", "Windows"),
    ("MicrosoftWindowsServer", "WindowsServer", "2022-datacenter", "20348.4000.1", "Windows"),
    ("OpenLogic", "CentOS", "8_5-gen2", "8.5.2022101401", "Linux"),
    ("RedHat", "RHEL", "9-lvm-gen2", "9.6.2026100101", "Linux"),
    ("RedHat", "RHEL", "8-lvm-gen2", "8.10.2026100101", "Linux"),
    ("SUSE", "sles-15-sp6", "gen2", "2026.10.01", "Linux"),
)  # fmt: skip
"""Each image: publisher, offer, sku, version, operating system."""
