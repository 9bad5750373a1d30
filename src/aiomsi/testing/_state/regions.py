"""Where Azure's regions are: geography, place, and the paired region.

Source: https://learn.microsoft.com/azure/reliability/regions-list
"""

from __future__ import annotations

from collections.abc import Iterator

_ROWS = """
eastus|US|Virginia|37.3719|-79.8164|westus
eastus2|US|Virginia|36.6681|-78.3889|centralus
centralus|US|Iowa|41.5908|-93.6208|eastus2
northcentralus|US|Illinois|41.8819|-87.6278|southcentralus
southcentralus|US|Texas|29.4167|-98.5|northcentralus
westcentralus|US|Wyoming|40.89|-110.234|westus2
westus|US|California|37.783|-122.417|eastus
westus2|US|Washington|47.233|-119.852|westcentralus
westus3|US|Phoenix|33.448376|-112.074036|eastus
canadacentral|Canada|Toronto|43.653|-79.383|canadaeast
canadaeast|Canada|Quebec|46.817|-71.217|canadacentral
mexicocentral|Mexico|Querétaro State|20.588818|-100.389888|
brazilsouth|South America|Sao Paulo State|-23.55|-46.633|southcentralus
northeurope|Europe|Ireland|53.3478|-6.2597|westeurope
westeurope|Europe|Netherlands|52.3667|4.9|northeurope
uksouth|UK|London|50.941|-0.799|ukwest
ukwest|UK|Cardiff|53.427|-3.084|uksouth
francecentral|Europe|Paris|46.3772|2.373|francesouth
francesouth|Europe|Marseille|43.8345|2.1972|francecentral
germanywestcentral|Europe|Frankfurt|50.110924|8.682127|germanynorth
germanynorth|Europe|Berlin|53.073635|8.806422|germanywestcentral
switzerlandnorth|Europe|Zurich|47.451542|8.564572|switzerlandwest
switzerlandwest|Europe|Geneva|46.204391|6.143158|switzerlandnorth
swedencentral|Europe|Gävle|60.67488|17.14127|swedensouth
norwayeast|Europe|Norway|59.913868|10.752245|norwaywest
norwaywest|Europe|Norway|58.969975|5.733107|norwayeast
polandcentral|Europe|Warsaw|52.23334|21.01666|
italynorth|Europe|Milan|45.46888|9.18109|
spaincentral|Europe|Madrid|40.4259|-3.4209|
israelcentral|Israel|Israel|31.2655698|33.4506633|
uaenorth|UAE|Dubai|25.266666|55.316666|uaecentral
uaecentral|UAE|Abu Dhabi|24.466667|54.366669|uaenorth
qatarcentral|Qatar|Doha|25.551462|51.439327|
southafricanorth|Africa|Johannesburg|-25.73134|28.21837|southafricawest
southafricawest|Africa|Cape Town|-34.075691|18.843266|southafricanorth
centralindia|India|Pune|18.5822|73.9197|southindia
southindia|India|Chennai|12.9822|80.1636|centralindia
westindia|India|Mumbai|19.088|72.868|southindia
eastasia|Asia Pacific|Hong Kong|22.267|114.188|southeastasia
southeastasia|Asia Pacific|Singapore|1.283|103.833|eastasia
japaneast|Asia Pacific|Tokyo, Saitama|35.68|139.77|japanwest
japanwest|Asia Pacific|Osaka|34.6939|135.5022|japaneast
koreacentral|Korea|Seoul|37.5665|126.978|koreasouth
koreasouth|Korea|Busan|35.1796|129.0756|koreacentral
australiaeast|Asia Pacific|New South Wales|-33.86|151.2094|australiasoutheast
australiasoutheast|Asia Pacific|Victoria|-37.8136|144.9631|australiaeast
australiacentral|Asia Pacific|Canberra|-35.3075|149.1244|australiacentral2
newzealandnorth|New Zealand|Auckland|-36.84853|174.76349|
eastus2euap|Canary (US)||36.6681|-78.3889|centraluseuap
centraluseuap|Canary (US)||41.5908|-93.6208|eastus2euap
"""
_OTHERS = ("francesouth", "germanynorth", "norwaywest", "southafricawest", "switzerlandwest",
           "uaecentral", "westcentralus", "westindia")  # fmt: skip
"""Regions that only complement another one."""


def _read_rows() -> Iterator[tuple[str, dict[str, object]]]:
    for row in _ROWS.split("\n"):
        name, *values = row.split("|")
        if not values:
            continue
        group, place, latitude, longitude, pair = values
        category = "Other" if name in _OTHERS else "Recommended"
        yield (
            name,
            {
                "regionType": "Physical",
                "regionCategory": category,
                "geography": group,
                "geographyGroup": group,
                "longitude": longitude,
                "latitude": latitude,
                "physicalLocation": place,
                "pairedRegion": [pair] if pair else [],
            },
        )


REGIONS = dict(_read_rows())
"""The metadata of each region by its name; `pairedRegion` has names."""
