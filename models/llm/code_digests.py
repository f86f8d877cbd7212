"""For each set of modules in ``models.llm.code_version``: the digest of its present syntax, and the one recorded in
keys.

Written by ``python -m models.llm.code_version``; see there when to run it. Where the two differ, the modules were
edited since the second was recorded, without a change of results. The first rows were recorded under Python 3.11.
"""

RECORDED = {
    "training": (
        "b68813460a623b992f88da89f2f713cd0f98420090688c63bf61b7d862013a88",
        "668ede93d30cda1f1b29cb2e432e4a488c3987aff722401e237d5e6ce5cced4e",
    ),
    "judging": (
        "ad441db9f3dbd7ff0664a80b727aa9c5843b279244fd9edf933e987d22feda54",
        "1cae7fbb92518ac15d175b6d7848d88a995fc009c186c10c42455bbb8717ac00",
    ),
    "retraining": (
        "e45cc1f5e24d886bdd8487f50887bad60f725d0b10b200bd8ce687689e555de4",
        "c92efba86316136ef16b8347ca1bb913ea76d29bba46760b47016f76008aac0b",
    ),
    "tuning": (
        "cc8929bad298a2ce1c87ab15f7a1b770a0eb7f2691e002b37c928c5b2141ee02",
        "b6dcfcfe4fc9bcc66b8a6fc2fa2650e351777e7d396caba4faa7737124e8f920",
    ),
    "selecting": (
        "6e053ccbf560b68f61452f2cef5e415ed0d1d1d581532ff7d9895349463de8a4",
        "e03c9a3d4e9a2ef1eef2ab0b926934e28fc93d346e378229082a463d166912a2",
    ),
}
