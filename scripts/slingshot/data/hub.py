"""Data sets of the Hugging Face hub: opened at a fixed commit, without running their code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from slingshot.config.data import HubData
from slingshot.core.errors import StudyError
from slingshot.data.tables import (
    ROWS_PER_BATCH,
    Batch,
    Rows,
    names_of_classes,
    python_value,
    refuse_objects,
    resolve_columns,
    values_of,
)


def hub_rows(source: HubData, names: list[str]) -> Rows:
    """Download a data set at a fixed commit; its rows stay in memory-mapped files.

    Each batch names the hub's split that it is of; where the study maps its splits to the hub's, ours.

    Raises:
        StudyError: it is gated, absent, out of reach, or lacks a revision, split or column.
    """
    import datasets  # slow to import, and only this source needs it

    commit = resolve_commit(source)
    wanted = source.split if isinstance(source.split, str) else None
    loaded = _call_hub(source, lambda: datasets.load_dataset(source.hub, revision=commit, split=wanted))
    parts = loaded if isinstance(loaded, dict) else {wanted or "train": loaded}
    if isinstance(source.split, dict):
        absent = [name for name in source.split.values() if name not in parts]
        if absent:
            raise StudyError(f"data.source.split: {source.hub} has no split {absent[0]!r}; it has {', '.join(parts)}")
        parts = {ours: parts[theirs] for ours, theirs in source.split.items()}
    origin = {"hub": source.hub, "revision": source.revision, "commit": commit, "splits": sorted(parts)}
    size = sum(int(part.data.nbytes) for part in parts.values())
    return Rows(origin, size, _hub_batches(source.hub, parts, names))


def _hub_batches(hub: str, parts: dict[str, Any], names: list[str]) -> Iterator[Batch]:
    for name in sorted(parts):
        part = parts[name]
        where = f"{hub} ({name})"
        written = resolve_columns(names, part.column_names, where)
        refuse_objects(part.features.arrow_schema, written, where)
        classes = names_of_classes(part.features)
        first = 1
        for table in part.select_columns(list(written.values())).with_format("arrow").iter(ROWS_PER_BATCH):
            columns = {
                key: [python_value(value, classes.get(written[key])) for value in values_of(table[written[key]])]
                for key in names
            }
            yield Batch(f"{hub}/{name}", first, columns, name)
            first += table.num_rows


def resolve_commit(source: HubData) -> str:
    """The commit that a hub data set's revision stands for.

    Raises:
        StudyError: no network, no such data set, no such revision, or one that needs a token.
    """
    import huggingface_hub

    info = _call_hub(source, lambda: huggingface_hub.HfApi().dataset_info(source.hub, revision=source.revision))
    return str(info.sha)


def _call_hub(source: HubData, call: Callable[[], Any]) -> Any:
    """Do something on the hub; its many exceptions become one sentence that says what to do."""
    from datasets.exceptions import DataFilesNotFoundError, DatasetNotFoundError
    from huggingface_hub import errors

    name = f"data.source: {source.hub}"
    try:
        return call()
    except errors.GatedRepoError:
        raise StudyError(
            f"{name} is gated: accept its terms on its page at huggingface.co, then set HF_TOKEN"
        ) from None
    except errors.RevisionNotFoundError:
        raise StudyError(f"{name} has no revision {source.revision!r}: name a commit, a tag or a branch") from None
    except (errors.RepositoryNotFoundError, DatasetNotFoundError):
        raise StudyError(f"{name} does not exist on the hub, or is private: check its id, or set HF_TOKEN") from None
    except errors.HFValidationError as error:
        raise StudyError(f"{name} is not a data set's id ({error}): write it as owner/name") from None
    except DataFilesNotFoundError:
        raise StudyError(
            f"{name} holds no file that can be read without running its code, which we never do: "
            "export it to Parquet and set data.source.path"
        ) from None
    except Exception as error:  # the hub's HTTP client changes with its version, and so do its exceptions
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StudyError(
            f"{name} (split {source.split or 'all'}) can't be reached or read: {reason}; check the network, "
            "HF_HUB_OFFLINE and the split's name, or save it to a file and set data.source.path"
        ) from None
