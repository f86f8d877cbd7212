"""Run one launch plan in this process, which ``tasks.execution.local`` started on a laptop.

``python -m launchplans.local <lake's folder>/runs/<name>.json``. It holds the execution's lock, which it was started
with, until it ends; its output is the execution's log.
"""

import sys
import traceback
from pathlib import Path

from flytekit import FlyteContextManager
from flytekit.core.type_engine import TypeEngine

from errors import UnknownName
from launchplans.registry import launch_plans
from tasks.execution.local import LocalExecution, read_request
from tasks.runtime import started_as


def main(request: Path) -> int:
    """Run it; returns the exit code. The state file records the end; a killed process releases its lock."""
    run = LocalExecution(folder=request.parent, name=request.stem)
    run.replace("state", "running")
    started_as.set(run.name)
    try:
        name, literals = read_request(request)
        if name not in (plans := launch_plans()):
            raise UnknownName("launch plan", name, plans)
        context, types = FlyteContextManager.current_context(), plans[name].workflow.python_interface.inputs
        plans[name](**TypeEngine.literal_map_to_kwargs(context, literals, types))
    except Exception:
        traceback.print_exc()
        run.replace("state", "failed")
        return 1
    run.replace("state", "succeeded")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
