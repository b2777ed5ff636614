"""Who and what a simulated Geotab fleet is made of, as the vendor lists it."""

from __future__ import annotations

import math

from tests.vendors.geotab.rows import OPEN, Fleet, Wire

OFFICE = {
    "id": "b9", "name": "fleetd-service@acme.test", "firstName": "", "lastName": "",
    "isDriver": False, "activeFrom": "2020-01-01T00:00:00.000Z", "activeTo": OPEN,
}  # fmt: skip


class Listed(Fleet):
    """Devices, users and zones."""

    def directory(self, kind: str) -> list[Wire]:
        truth = self.truth
        if kind == "Device":
            return [self._device(n) for n in range(truth.vehicles)]
        if kind == "User":
            return [self._user(n) for n in range(len(truth.people))] + [OFFICE]
        if kind == "Zone":
            return [self._zone(n) for n in range(len(truth.spots))]
        return []

    def _device(self, n: int) -> Wire:
        unit = self.truth.unit(n)
        return {
            "id": self.vehicle_id(n),
            "name": unit.number,
            "serialNumber": unit.serial,
            "vehicleIdentificationNumber": "" if unit.bare else unit.vin,
            "engineVehicleIdentificationNumber": unit.vin if unit.bare else "?",
            "deviceType": "GO9",
            "productId": 120,
            "licensePlate": unit.plate,
            "groups": [{"id": "GroupVehicleId"}],
            "activeFrom": "2020-01-01T00:00:00.000Z",
            "activeTo": OPEN,
            "timeZoneId": "America/Los_Angeles",
            "vinInfoMake": unit.make,
            "vinInfoModel": unit.model,
            "vinInfoYear": str(unit.year),
        }

    def _user(self, n: int) -> Wire:
        who = self.truth.person(n)
        return {
            "id": self.driver_id(n),
            "name": f"{who.username}@acme.test",
            "firstName": who.first,
            "lastName": who.last,
            "employeeNo": "",
            "phoneNumber": who.phone,
            "isDriver": True,
            "driverGroups": [{"id": "GroupCompanyId"}],
            "companyGroups": [{"id": "GroupCompanyId"}],
            "activeFrom": "2020-01-01T00:00:00.000Z",
            "activeTo": OPEN,
            "timeZoneId": "America/Los_Angeles",
        }

    def _zone(self, n: int) -> Wire:
        spot = self.truth.spot(n)
        reach = spot.radius_m / 111_320.0
        wide = reach / math.cos(math.radians(spot.lat))
        corners = ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))
        return {
            "id": f"b{n + 0x5000:X}",
            "name": spot.name,
            "comment": spot.address,
            "points": [
                {"x": spot.lon + x * wide, "y": spot.lat + y * reach}
                for x, y in corners
            ],
            "groups": [{"id": "GroupCompanyId"}],
            "activeFrom": "1986-01-01T00:00:00.000Z",
            "activeTo": OPEN,
        }
