"""For each set of modules in ``models.llm.code_version``: the digest of its present syntax, and the one recorded in
keys.

Written by ``python -m models.llm.code_version``; see there when to run it. Where the two differ, the modules were
edited since the second was recorded, without a change of results. The first rows were recorded under Python 3.11.
"""

RECORDED = {
    "training": (
        "8d910870eaec94e89218d807da8c36fe75e4fa5941bc8fbf917d4536dc5014e3",
        "668ede93d30cda1f1b29cb2e432e4a488c3987aff722401e237d5e6ce5cced4e",
    ),
    "judging": (
        "c611947bee942f1ea7b9d623c65a65e9a8e3311066587c010db0cccf01e249a8",
        "1cae7fbb92518ac15d175b6d7848d88a995fc009c186c10c42455bbb8717ac00",
    ),
    "retraining": (
        "859c539c756ca5693faacd8f9e8ac24eccafbe14dab0ade79447eee4419db831",
        "c92efba86316136ef16b8347ca1bb913ea76d29bba46760b47016f76008aac0b",
    ),
    "tuning": (
        "badcf85a4b0f2256d3e8e2e713ae8313b21d7e57dee5a272b17e98b93e6df70c",
        "b6dcfcfe4fc9bcc66b8a6fc2fa2650e351777e7d396caba4faa7737124e8f920",
    ),
    "selecting": (
        "33eab8ef3d119436c055bf1f40b67b637af78c8340211fb09aad297fb6dce6ad",
        "e03c9a3d4e9a2ef1eef2ab0b926934e28fc93d346e378229082a463d166912a2",
    ),
}
