"""Images of the marketplace: publishers, offers, skus and versions in a region.

Source: https://learn.microsoft.com/rest/api/compute/virtual-machine-images
"""

from __future__ import annotations

from collections.abc import Mapping

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.services.machine_data import IMAGES
from aiomsi.testing._arm.services.provider_service import Read
from aiomsi.testing._server.messages import Answer, make_json_answer
from aiomsi.testing._state.paths import ResourcePath

_PUBLISHERS = "microsoft.compute/locations/publishers"
_LEVELS = ("publishers", "offers", "skus", "versions")


def _read_images(call: ArmCall, path: ResourcePath) -> Answer:
    """Return the next level below the names in the path as an array, or one version.

    Raises:
        RefusedError: no image has these names.

    """
    named = dict(zip((kind.lower() for kind in path.types), path.names, strict=False))
    wanted = [named[level].lower() for level in _LEVELS if level in named]
    depth = len(wanted)
    rows = [row for row in IMAGES if [part.lower() for part in row[:depth]] == wanted]
    if not rows:
        text = f"Artifact: {'/'.join(wanted)} was not found."
        raise call.refuse(404, "NotFound", text)
    place = path.names[0]
    if depth == len(_LEVELS):
        return make_json_answer(200, _describe(call.path, place, rows[0]))
    items = [
        {"location": place, "name": name, "id": f"{call.path}/{name}"}
        for name in dict.fromkeys(row[depth] for row in rows)
    ]
    return make_json_answer(200, items)


def _describe(image_id: str, place: str, row: tuple[str, str, str, str, str]) -> dict[str, object]:
    windows = row[4] == "Windows"
    return {
        "id": image_id,
        "name": row[3],
        "location": place,
        "properties": {
            "hyperVGeneration": "V2" if "g" in row[2].rpartition("-")[2] else "V1",
            "architecture": "x64",
            "replicaType": "Managed",
            "replicaCount": 10,
            "automaticOSUpgradeProperties": {"automaticOSUpgradeSupported": False},
            "features": [{"name": "IsAcceleratedNetworkSupported", "value": "True"}],
            "osDiskImage": {"operatingSystem": row[4], "sizeInGb": 127 if windows else 30},
            "dataDiskImages": [],
        },
    }


_TYPES = (
    _PUBLISHERS,
    f"{_PUBLISHERS}/artifacttypes/offers",
    f"{_PUBLISHERS}/artifacttypes/offers/skus",
    f"{_PUBLISHERS}/artifacttypes/offers/skus/versions",
)
IMAGE_READS: Mapping[str, Read] = dict.fromkeys(_TYPES, _read_images)
"""The functions that respond to a GET of images, by lower-case type."""
