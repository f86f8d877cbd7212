"""For each set of modules in ``models.llm.code_version``: the digest of its present syntax, and the one recorded in
keys.

Written by ``python -m models.llm.code_version``; see there when to run it. Where the two differ, the modules were
edited since the second was recorded, without a change of results. The first rows were recorded under Python 3.11.
"""

RECORDED = {
    "training": (
        "700231384bdaa4c9bf95c134230f9796deda0732b6b16c690a61cd224d03963b",
        "668ede93d30cda1f1b29cb2e432e4a488c3987aff722401e237d5e6ce5cced4e",
    ),
    "judging": (
        "0f5269a659b7eef213f3a483b0f8ec6780b2118c3b02bc24545eb85a44033499",
        "1cae7fbb92518ac15d175b6d7848d88a995fc009c186c10c42455bbb8717ac00",
    ),
    "retraining": (
        "5c38ca4fbda6b1a752ca3de8e46bd868aab49af084e519e46c440f58908c9cdf",
        "c92efba86316136ef16b8347ca1bb913ea76d29bba46760b47016f76008aac0b",
    ),
    "tuning": (
        "39f10d5c25d632aed582017d4599975af689962f1d3bb947ff2f4c4bd105e605",
        "b6dcfcfe4fc9bcc66b8a6fc2fa2650e351777e7d396caba4faa7737124e8f920",
    ),
    "selecting": (
        "b85e1eefcd34fd00aa06696a1d483d4c6f199d210437f507a4c1a2cb211404ec",
        "e03c9a3d4e9a2ef1eef2ab0b926934e28fc93d346e378229082a463d166912a2",
    ),
}
