"""For each set of modules in ``models.llm.code_version``: the digest of its present syntax, and the one recorded in
keys.

Written by ``python -m models.llm.code_version``; see there when to run it. Where the two differ, the modules were
edited since the second was recorded, without a change of results. The first rows were recorded under Python 3.11.
"""

RECORDED = {
    "training": (
        "11d96414ee7d5d16537b7e563299a6ac31bd25829193c21c739f276f7fb0d863",
        "668ede93d30cda1f1b29cb2e432e4a488c3987aff722401e237d5e6ce5cced4e",
    ),
    "judging": (
        "5abcd6e08cd9b8bed02aef91bbaed725ec9f8af95c3fe9d8064edc0641ae1962",
        "1cae7fbb92518ac15d175b6d7848d88a995fc009c186c10c42455bbb8717ac00",
    ),
    "retraining": (
        "eac485a6d89a019479d3bab772d360a4a739da411e88d8efbb638980770afa2e",
        "c92efba86316136ef16b8347ca1bb913ea76d29bba46760b47016f76008aac0b",
    ),
    "tuning": (
        "f797ea5dcce9d2e8bff169743c15670b0d45b33ec77ec469aad533667c845432",
        "b6dcfcfe4fc9bcc66b8a6fc2fa2650e351777e7d396caba4faa7737124e8f920",
    ),
    "selecting": (
        "fc948bf2138d3e9956157ad5e72cde8b567581ae92595dc1552a02761f390966",
        "e03c9a3d4e9a2ef1eef2ab0b926934e28fc93d346e378229082a463d166912a2",
    ),
}
