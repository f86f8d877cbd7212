"""For each set of modules in ``models.llm.code_version``: the digest of its present syntax, and the one recorded in
keys.

Written by ``python -m models.llm.code_version``; see there when to run it. Where the two differ, the modules were
edited since the second was recorded, without a change of results. The first rows were recorded under Python 3.11.
"""

RECORDED = {
    "training": (
        "984c4a37f8f6347fae2afbed5d70e0ec74de183384e6b8f44f5a6b56cb83fb39",
        "668ede93d30cda1f1b29cb2e432e4a488c3987aff722401e237d5e6ce5cced4e",
    ),
    "judging": (
        "490a29482343a75a494f1f1bf48b6afafe558c9c6e70da54794b53186a83b92f",
        "1cae7fbb92518ac15d175b6d7848d88a995fc009c186c10c42455bbb8717ac00",
    ),
    "retraining": (
        "a9628fbfb6e64e1d9cd1765274e74b4dd25a4dc0cbb346638691a5a7cae8b882",
        "c92efba86316136ef16b8347ca1bb913ea76d29bba46760b47016f76008aac0b",
    ),
    "tuning": (
        "3d392679a139324fda52e6b743a2c38929c0295f3eb166c987295c1926b991f3",
        "b6dcfcfe4fc9bcc66b8a6fc2fa2650e351777e7d396caba4faa7737124e8f920",
    ),
    "selecting": (
        "33eab8ef3d119436c055bf1f40b67b637af78c8340211fb09aad297fb6dce6ad",
        "e03c9a3d4e9a2ef1eef2ab0b926934e28fc93d346e378229082a463d166912a2",
    ),
}
