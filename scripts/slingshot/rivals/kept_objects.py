"""scikit-learn's objects in files that hold no code: a zip of JSON and arrays, as skops writes it, never a pickle."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer

from slingshot.core.errors import StudyError

# skops lists scikit-learn's estimators when it is imported, for which every module of scikit-learn is, and with this
# one torch: seconds for what needs no torch. An entry of None makes an import of it fail, which the list passes over.
_BRINGS_TORCH = "sklearn.externals.array_api_compat.torch"
if "torch" not in sys.modules:
    sys.modules[_BRINGS_TORCH] = None  # type: ignore[assignment]
import skops.io  # noqa: E402

if sys.modules.get(_BRINGS_TORCH, skops) is None:
    del sys.modules[_BRINGS_TORCH]

# Beside what skops trusts by itself (scikit-learn's estimators, numpy's arrays): losses of its linear models, which
# are fields of a fitted SGDClassifier and hold two numbers.
TRUSTED = [
    "sklearn.linear_model._sgd_fast.Hinge",
    "sklearn.linear_model._sgd_fast.Log",
    "sklearn._loss._loss.CyHalfBinomialLoss",
]


# What decides how a fitted TF-IDF counts a text; its terms and their weights are kept beside.
SETTINGS = ("analyzer", "ngram_range", "sublinear_tf", "strip_accents")


def keep_vectorizer(vectorizer: TfidfVectorizer) -> dict[str, Any]:
    """A fitted vectorizer as one text, one array and its settings.

    As an object skops would keep each place of the vocabulary as a file of its own: minutes for 100,000 terms.
    """
    settings = {name: vectorizer.get_params()[name] for name in SETTINGS}
    terms = "\n".join(sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.get))  # no term holds a line's end
    return {"settings": settings, "terms": terms, "idf": vectorizer.idf_}


def restore_vectorizer(kept: dict[str, Any]) -> TfidfVectorizer:
    """The vectorizer that `keep_vectorizer` kept."""
    settings = {**kept["settings"], "ngram_range": tuple(kept["settings"]["ngram_range"])}
    vectorizer = TfidfVectorizer(**settings)
    vectorizer.vocabulary_ = {term: place for place, term in enumerate(kept["terms"].split("\n"))}
    vectorizer.idf_ = kept["idf"]
    return vectorizer


def write_object(path: Path, value: Any) -> None:
    skops.io.dump(value, path)


def read_object(path: Path) -> Any:
    """Read what `write_object` wrote.

    Raises:
        StudyError: the file is missing, damaged, or names a type that no pipeline of ours has.
    """
    try:
        unknown = sorted(set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED))
        if unknown:
            raise StudyError(f"{path} names the type {unknown[0]}, which no pipeline of ours has: it is not read")
        return skops.io.load(path, trusted=TRUSTED)
    except StudyError:
        raise
    except Exception as error:  # the reader of a damaged file fails with whatever its parser met
        words = " ".join(str(error).split())[:200] or type(error).__name__
        raise StudyError(f"{path} is no fitted pipeline ({words}): run the arm's fit step again") from None
