"""Contract tests from both sides: fake providers for consumers, and the replay of their expectations on providers.

The package knows no service. It works with any contract that declares policies. docs/contract-testing.md explains it.
"""

from contracts.testing.admission import Caller as Caller
from contracts.testing.fake_server import FakeServer as FakeServer
from contracts.testing.fake_server import UnexpectedCalls as UnexpectedCalls
from contracts.testing.script import ScriptError as ScriptError
