"""Migrations of the releases in which each service created the idempotency keys and the outbox itself.

Now `mesh/migrations` creates these tables, and the services' files no longer contain them. A database of such a release
records the checksums of the old files. The database stays valid, and the files of the mesh find their tables in it.
"""

# ruff: noqa: E501 - two checksums and their punctuation need 139 columns

from __future__ import annotations

# Checksums of the files that created nothing else and no longer exist.
REMOVED = frozenset(
    {
        "5e60e2fb1b1ba46cb53033c3bc13c5a3f8f235a71453d3a4d0dcaf073a0d4594",  # idempotency_keys_by_age.sql
        "1eb56d8c9c44c2ae0ffee64e91c97e3482b1c5eb28d8d115b5043b4b284a4006",  # keys_have_answers.sql
        "34631a7262154a26dd6d4d1bc505fea0dd8b711298fdd303b6f741a643f31d0f",  # outbox.sql
    }
)

# Checksums of the files that created other tables too, each with the checksum of the present file.
CHANGED = {
    # communication/0001_messages.sql
    "17ab6fa6c9d5de710c220f8f3915dc31dd0737a3e3b4a45c3d295c06af30a21a": "fd54df3970157fe85779394ed14140bec7b19ccce14d125b86f420af4763e7c0",
    # gym/0001_gyms.sql
    "43aff5e6471c134abfd951ac97e8a08fc4eee1bbd1a3c4fa43e0a95b540335c7": "9c793f81dd8d3b600fc8af8ce9ef3aef9605e6d3b17c87e92cc911ac9ddc58f8",
    # payment/0001_ledger.sql
    "c9b3b4a8189e251e3d077c674afa4fbc17e803488ccc5d618dda4a4e42be0874": "e8818d51b7130b620f00d5a8043f2815e5d32d962609b2472789340551bdd146",
    # payment/0009_invariants.sql
    "5ced16cc231abd68be551c62886479e696ee170b6274a732225eb29ed5131797": "a40fbb64b2efcf4e7631ee7dae31ada8207ba7c99babcd06867582abb6445603",
    # session/0012_guests.sql
    "77fd83f4c5c11f5fe4d7539866dbae3e5b62917a12d5c023647c83e3c004b7f3": "a03f01bc34d0285cc08803b4b103d0634ada6d2a4eef225e0c1a3f89f5ac6f95",
    # subscription/0001_subscriptions.sql
    "5476212635e6244cfff45d8ad68f56547b8dc6b53716c0251ecbf75e477fef90": "0f6d6bb396cd53561fc9b9226b56eb0c1b284498634a7324aa8e9c45c5e78f51",
    # user/0001_users.sql
    "f33f413d99334f2d5651b4eba9e592e42efd2b49168e5ba3349015e484e5b71f": "6b49d3a143b5c0882da867cc25d16c33686e150bb3c5adde3281fadc6fdf2f8c",
}
