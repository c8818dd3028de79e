"""Contract tests from both sides: fake providers for consumers, and the replay of their expectations on providers.

The package knows no service. It works with any contract that declares policies. docs/contract-testing.md explains it.
"""

from contracts.testing.admission import Caller as Caller
from contracts.testing.compatibility import verify_previous_client as verify_previous_client
from contracts.testing.compatibility import verify_previous_server as verify_previous_server
from contracts.testing.coverage import Coverage as Coverage
from contracts.testing.expectation import Expectation as Expectation
from contracts.testing.expectation import Kind as Kind
from contracts.testing.expectation_files import ExpectationFiles as ExpectationFiles
from contracts.testing.expectation_files import expectations_on as expectations_on
from contracts.testing.expectation_files import read_expectations as read_expectations
from contracts.testing.expectations import Expectations as Expectations
from contracts.testing.fake_server import FakeServer as FakeServer
from contracts.testing.fake_server import UnexpectedCalls as UnexpectedCalls
from contracts.testing.previous_release import NewExpectation as NewExpectation
from contracts.testing.previous_release import PreviousRelease as PreviousRelease
from contracts.testing.recording import SENT as SENT
from contracts.testing.script import ScriptError as ScriptError
from contracts.testing.verification import BrokenExpectation as BrokenExpectation
from contracts.testing.verification import check_states as check_states
from contracts.testing.verification import verify as verify
