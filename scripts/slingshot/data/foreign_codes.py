"""Codes of other systems, recognized by their form, so that none is read as ICD-10-CM.

A form that two systems share (`K86` is a disease of the pancreas in ICD-10-CM and hypertension in ICPC-2) decides
nothing here: what a column holds as a whole is judged in planning.py.
"""

from __future__ import annotations

import re

ICD9 = "ICD-9-CM"

_FORMS = (
    (
        "ICD-10 of WHO or GM",
        re.compile(r"[A-Z]\d\d(\.?\d{0,2}|\.)(-|[-.]*[*+!#\N{DAGGER}]+|-[*+!\N{DAGGER}])"),
    ),
    (ICD9, re.compile(r"\d{3}(\.\d{0,2}|\d{0,2})|E\d{3}\.\d?|E\d{4}|V\d{2}\.\d{1,2}|V\d{3,4}")),
    ("SNOMED CT", re.compile(r"\d{6,18}")),
    ("ICD-11", re.compile(r"(?!O[0-9])[0-9A-Z][A-HJ-NP-Z][0-9][0-9A-HJ-NP-Z](\.[0-9A-Z]{1,2})?(/.*)?")),
    ("ICD-10-PCS", re.compile(r"[0-9][0-9A-HJ-NP-Z]{6}")),
    ("OPS", re.compile(r"\d-\d{2}[0-9A-Z]?(\.[0-9A-Z]{1,2})?")),
    ("LOINC", re.compile(r"\d{1,5}-\d")),
    ("ICD-10-GM", re.compile(r"[A-Z]\d\d(\.\d{1,2})?[GVZ]?[RLB]?(?<=[GVZRLB])")),  # certainty and side
)

_MODERN = re.compile(r"[A-Z][0-9A-Z][0-9A-Z](\.?[0-9A-Z]{1,4})?")

# What ICD-9-CM's supplementary chapters and ICD-10-CM both may mean.
_BOTH = re.compile(r"E\d{3}|V\d{2}")


def system_of(code: str) -> str | None:
    """The name of another system whose form a code has, in capitals and as written with its dots; None for none.

    Only codes that ICD-10-CM does not hold are asked for here, so the form of a retired code (`A0499`) is none.
    """
    return next((name for name, form in _FORMS if form.fullmatch(code)), None)


def has_form(code: str) -> bool:
    """Whether a code, in capitals, is written as ICD-10-CM writes codes: a dot, if any, after the third character."""
    return _MODERN.fullmatch(code) is not None


def may_be_icd9(code: str) -> bool:
    """Whether ICD-9-CM has codes of this form, too: `E849`, `V45`."""
    return _BOTH.fullmatch(code.replace(".", "")) is not None or system_of(code) == ICD9
