"""For each set of modules in ``models.llm.code_version``: the digest of its present syntax, and the one recorded in
keys.

Written by ``python -m models.llm.code_version``; see there when to run it. Where the two differ, the modules were
edited since the second was recorded, without a change of results. The first rows were recorded under Python 3.11.
"""

RECORDED = {
    "training": (
        "ba8aed92afd9db56c8dc864410fb1ef1272a837d187160724f82475449a9c7c4",
        "668ede93d30cda1f1b29cb2e432e4a488c3987aff722401e237d5e6ce5cced4e",
    ),
    "judging": (
        "bf2cd467c7df69e0fee7ff781dc16564b0960f56c31e2fcdf64e901f494a3591",
        "1cae7fbb92518ac15d175b6d7848d88a995fc009c186c10c42455bbb8717ac00",
    ),
    "retraining": (
        "19a0931bca57ad874826bcd612ef21e340aa7fad31e7c67da851922529cebc2b",
        "c92efba86316136ef16b8347ca1bb913ea76d29bba46760b47016f76008aac0b",
    ),
    "tuning": (
        "21bdbce26e31d76be0f5a71728b1fb5101495be19a0bc3b541eb04f6bed70a8b",
        "b6dcfcfe4fc9bcc66b8a6fc2fa2650e351777e7d396caba4faa7737124e8f920",
    ),
    "selecting": (
        "fc948bf2138d3e9956157ad5e72cde8b567581ae92595dc1552a02761f390966",
        "e03c9a3d4e9a2ef1eef2ab0b926934e28fc93d346e378229082a463d166912a2",
    ),
}
