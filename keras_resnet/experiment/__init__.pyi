from .folder import experiment as experiment
from .resolved import Resolved as Resolved
from .run import Run as Run
