"""Which rows `policy.licences` keeps out: decided by each row's licence, and so by the card's where all rows bear it.

A row that is kept out takes no part in deduplication, or a permitted row could fall as the copy of a refused one.
Evaluation rows do: what they show must not train, whoever scores them later.
"""

from __future__ import annotations

import pyarrow as pa

from openmedq.config import Licences
from openmedq.curate.sets import DataSet
from openmedq.datasets.licences import refuse


def find_refusals(data_set: DataSet, licences: pa.Array, policy: Licences) -> pa.Array:
    """For each of the rows' licences why the row is kept out, or null: (R,). Null for a licence is an unknown one."""
    words = licences.fill_null("").dictionary_encode()
    reasons = [refuse(each, policy, is_credentialed=data_set.is_credentialed) for each in words.dictionary.to_pylist()]
    return pa.array(reasons, pa.string()).take(words.indices)
