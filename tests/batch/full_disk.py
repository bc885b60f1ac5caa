"""A program whose files may have a few bytes only, as on a disk that is nearly full.

``python -m tests.batch.full_disk URL BYTES JSON``: calls made with the policy fields in JSON; it
prints the report of each call, and the warnings.
"""

from __future__ import annotations

import json
import resource
import sys
import warnings

from flextier import FlexPolicy
from tests.batch.crowd import options, questions, tasks, threads

if __name__ == "__main__":
    _, url, most, fields = sys.argv
    given = json.loads(fields)
    sys.dont_write_bytecode = True  # Python would write truncated files, which every test imports
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), int(most)))
    crowd = tasks if given.pop("is_async") else threads
    calls = given.pop("calls")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        said = crowd(options(url, FlexPolicy(**given)), questions(calls))
    found = {
        "lanes": [one.lanes for one in said],
        "right": sum(one.is_right for one in said),
        "errors": sorted({str(one.error) for one in said if one.error}),
        "billed": [a.possibly_billed for one in said for a in one.report.attempts],
        "warnings": sorted({str(one.message) for one in caught}),
    }
    sys.stdout.write(json.dumps(found))
