"""For each set of modules in ``models.llm.code_version``: the digest of its present syntax, and the one recorded in
keys.

Written by ``python -m models.llm.code_version``; see there when to run it. Where the two differ, the modules were
edited since the second was recorded, without a change of results. The first rows were recorded under Python 3.11.
"""

RECORDED = {
    "training": (
        "c1ba15b11e1b552dd1c714a52c309bde11539c5d8dace8f3acf9a2213e3fce5c",
        "668ede93d30cda1f1b29cb2e432e4a488c3987aff722401e237d5e6ce5cced4e",
    ),
    "judging": (
        "8a347437e449751fdae7cdb1cecd969beb5feb75c4310f5e45404c619f7d9d02",
        "1cae7fbb92518ac15d175b6d7848d88a995fc009c186c10c42455bbb8717ac00",
    ),
    "retraining": (
        "99ff08c8768c320c78766dac9a42c640c2088a922d903cc3262c6a414d774972",
        "c92efba86316136ef16b8347ca1bb913ea76d29bba46760b47016f76008aac0b",
    ),
    "tuning": (
        "6a3c688f1ce8dc06a5ac0a711ee0de2b401d4c6b95159fd7bb01275cfa52dac7",
        "b6dcfcfe4fc9bcc66b8a6fc2fa2650e351777e7d396caba4faa7737124e8f920",
    ),
    "selecting": (
        "8c89eae4cf9ec2523545c9a7c51a52586631db4a941ab1496ebfacbe224af0ba",
        "e03c9a3d4e9a2ef1eef2ab0b926934e28fc93d346e378229082a463d166912a2",
    ),
}
