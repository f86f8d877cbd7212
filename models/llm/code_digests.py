"""For each set of modules in ``models.llm.code_version``: the digest of its present syntax, and the one recorded in
keys.

Written by ``python -m models.llm.code_version``; see there when to run it. Where the two differ, the modules were
edited since the second was recorded, without a change of results. The first rows were recorded under Python 3.11.
"""

RECORDED = {
    "training": (
        "dd0bebae8536b3d0b56735a1b71fc95971c4d0e7c5b097675c3d20bf6a1d6809",
        "668ede93d30cda1f1b29cb2e432e4a488c3987aff722401e237d5e6ce5cced4e",
    ),
    "judging": (
        "2b1cafb1c193525c7fc07af91aa3fbc892f43ba194fd1eb10b5d95f6319c099b",
        "1cae7fbb92518ac15d175b6d7848d88a995fc009c186c10c42455bbb8717ac00",
    ),
    "retraining": (
        "70717a9a0f162121bad81fb4ad9d3b57b29154a77e56d11603b9be13c7cb118f",
        "c92efba86316136ef16b8347ca1bb913ea76d29bba46760b47016f76008aac0b",
    ),
    "tuning": (
        "450d35fd00fd25b55ed28680934fb1beb28039acaa9b28b9495160bd0482f8c8",
        "b6dcfcfe4fc9bcc66b8a6fc2fa2650e351777e7d396caba4faa7737124e8f920",
    ),
    "selecting": (
        "fc948bf2138d3e9956157ad5e72cde8b567581ae92595dc1552a02761f390966",
        "e03c9a3d4e9a2ef1eef2ab0b926934e28fc93d346e378229082a463d166912a2",
    ),
}
