"""Planted changes: edits of the shop's contracts, with the change that each one makes, and that its reverse makes."""

from __future__ import annotations

from dataclasses import dataclass

STOCK, SHOP = "shop.v1.StockService", "shop.v1.ShopService"
GET, LIST, WATCH, RELEASE = f"{STOCK}/GetItem", f"{STOCK}/ListItems", f"{STOCK}/WatchItem", f"{STOCK}/Release"
ORDER, REACT = f"{SHOP}/PlaceOrder", f"{SHOP}/OnReleased"


@dataclass(frozen=True, slots=True)
class Edit:
    """Edit that replaces `old` by `new`.

    The edit causes a change `id` of `subject`, at the first line with `line`, which hits `callers`. The reverse edit
    causes a change `reverse` of the same subject, or of none if it is empty.
    """

    id: str
    old: str
    new: str
    subject: str
    line: str
    callers: tuple[str, ...] = ()
    reverse: str = ""


def stock(id_: str, old: str, new: str, line: str, reverse: str = "") -> Edit:
    """Return a change of the policy of StockService/GetItem, which PlaceOrder calls."""
    return Edit(id_, old, new, GET, line, (ORDER,), reverse)


RETRY = """      retry: {
        max_attempts: 3
        codes: [UNAVAILABLE]
      }
"""
HEDGE = """      hedge: {
        delay: {nanos: 50000000}
      }
"""
LIMIT = """      rate_limit: {
        calls_per_second: 100
        burst: 10
      }
"""
DEPRECATION = """      deprecation: {
        sunset: {seconds: 1893456000}
        replaced_by: "shop.v1.StockService/ListItems"
      }
"""
CODES = "codes: [UNAVAILABLE]"
WORK = 'calls_later: ["shop.v1.StockService/Release"]'
ERRORS = "errors: [ERROR_REASON_GYM_NOT_FOUND]"
LIST_METHOD = """  rpc ListItems(ListItemsRequest) returns (ListItemsResponse) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (solo60.mesh.v1.policy) = {
      deadline: {seconds: 3}
      scopes: ["stock.read"]
    };
  }
"""
LIST_POLICY = """    option (solo60.mesh.v1.policy) = {
      deadline: {seconds: 3}
      scopes: ["stock.read"]
    };
  }

  rpc WatchItem"""
RELEASE_LEVEL = """  rpc Release(ReleaseRequest) returns (ReleaseResponse) {
    option idempotency_level = IDEMPOTENT;
"""
CEL = """  option (buf.validate.message).cel = {
    id: "by_name_or_sku"
    expression: "this.name != '' || this.sku != ''"
  };
"""
EVENT = '  option (solo60.mesh.v1.event) = {aggregate_key: "order_id"};\n'
CHANGES = (
    # Methods.
    Edit("METHOD_REMOVED", LIST_METHOD, "", LIST, "service StockService"),
    Edit(
        "METHOD_REMOVED",
        RELEASE_LEVEL
        + """    option (solo60.mesh.v1.policy) = {
      deadline: {seconds: 3}
      scopes: ["stock.write"]
    };
  }
""",
        "",
        RELEASE,
        "service StockService",
        (ORDER,),
    ),
    Edit("POLICY_REMOVED", LIST_POLICY, "  }\n\n  rpc WatchItem", LIST, "rpc ListItems", (), "SCOPE_ADDED"),
    stock("METHOD_UNIMPLEMENTED", ERRORS, f"contract_only: true {ERRORS}", "contract_only", "METHOD_IMPLEMENTED"),
    stock(
        "DEADLINE_SHORTENED",
        f"{{seconds: 3}}\n{RETRY}",
        f"{{seconds: 2}}\n{RETRY}",
        "seconds: 2",
        "DEADLINE_LENGTHENED",
    ),
    stock("DEADLINE_BEYOND_CALLER", f"{{seconds: 3}}\n{RETRY}", f"{{seconds: 11}}\n{RETRY}", "seconds: 11"),
    Edit(
        "IDLE_TIMEOUT_SHORTENED",
        "idle_timeout: {seconds: 10}",
        "idle_timeout: {seconds: 5}",
        WATCH,
        "idle_timeout",
        reverse="IDLE_TIMEOUT_LENGTHENED",
    ),
    stock(
        "SCOPE_ADDED",
        f'["stock.read"]\n{LIMIT}',
        f'["stock.read",\n"stock.see"]\n{LIMIT}',
        "stock.see",
        "SCOPE_REMOVED",
    ),
    stock("RETRY_WIDENED", "max_attempts: 3", "max_attempts: 4", "max_attempts", "RETRY_NARROWED"),
    stock("RETRY_WIDENED", CODES, "codes: [UNAVAILABLE,\n ABORTED]", " ABORTED", "RETRY_NARROWED"),
    stock("RETRY_WIDENED", CODES, f"{CODES}\ninitial_backoff: {{nanos: 1000}}", "initial_backoff", "RETRY_NARROWED"),
    stock("RETRY_NARROWED", RETRY, "", "(solo60.mesh.v1.policy) = {", "RETRY_WIDENED"),
    stock("HEDGE_WIDENED", "delay: {nanos: 50000000}", "delay: {nanos: 20000000}", "delay: {nanos", "HEDGE_NARROWED"),
    stock("RATE_LIMIT_LOWERED", "calls_per_second: 100", "calls_per_second: 50", "calls_per", "RATE_LIMIT_RAISED"),
    stock("RATE_LIMIT_LOWERED", "burst: 10", "burst: 5", "burst", "RATE_LIMIT_RAISED"),
    stock(
        "RATE_LIMIT_FIELD_CHANGED", "burst: 10", 'burst: 10\nper_field: "sku"', "per_field", "RATE_LIMIT_FIELD_CHANGED"
    ),
    stock(
        "CRITICALITY_LOWERED",
        ERRORS,
        f"criticality: CRITICALITY_SHEDDABLE {ERRORS}",
        "criticality",
        "CRITICALITY_RAISED",
    ),
    stock(
        "IDEMPOTENCY_KEY_REQUIRED",
        ERRORS,
        f"idempotency: IDEMPOTENCY_REQUIRED {ERRORS}",
        "idempotency:",
        "IDEMPOTENCY_DROPPED",
    ),
    Edit(
        "IDEMPOTENCY_LEVEL_WEAKENED",
        RELEASE_LEVEL,
        RELEASE_LEVEL.rpartition("    option")[0],
        RELEASE,
        "rpc Release",
        (ORDER,),
        "IDEMPOTENCY_LEVEL_STRENGTHENED",
    ),
    stock(
        "ERROR_ADDED",
        ERRORS,
        "errors: [ERROR_REASON_GYM_NOT_FOUND,\nERROR_REASON_GYM_CLOSED]",
        "CLOSED",
        "ERROR_REMOVED",
    ),
    Edit("DEPRECATION_REMOVED", DEPRECATION, "", GET, "(solo60.mesh.v1.policy) = {", reverse="DEPRECATED"),
    stock("SUNSET_EARLIER", "seconds: 1893456000", "seconds: 1800000000", "sunset", "SUNSET_LATER"),
    Edit("REPLACEMENT_CHANGED", "/ListItems", "/FindItems", GET, "replaced_by", reverse="REPLACEMENT_CHANGED"),
    # Calls and keys.
    Edit("OWN_WORK_CHANGED", WORK, f"{WORK}\nown_work: {{seconds: 2}}", ORDER, "own_work", reverse="OWN_WORK_CHANGED"),
    Edit(
        "PARALLEL_CALLS_CHANGED",
        WORK,
        f'{WORK}\nparallel_calls: [{{calls: ["{GET}", "{LIST}"]}}]',
        ORDER,
        "parallel_calls",
        reverse="PARALLEL_CALLS_CHANGED",
    ),
    Edit(
        "CALL_ADDED",
        '["shop.v1.StockService/GetItem"]',
        f'["shop.v1.StockService/GetItem",\n"{LIST}"]',
        ORDER,
        LIST,
        reverse="CALL_REMOVED",
    ),
    Edit("CALL_ADDED", 'calls_later: ["', f'calls_later: ["{LIST}", "', ORDER, "calls_later", reverse="CALL_REMOVED"),
    Edit(
        "CALL_REMOVED",
        '  option (solo60.mesh.v1.http_calls) = "shop.v1.ShopService/PlaceOrder";\n',
        "",
        SHOP,
        "service ShopService",
        reverse="CALL_ADDED",
    ),
    Edit("DEFAULT_PORT_CHANGED", "50102", "50103", STOCK, "50103", (ORDER,)),
    # Events.
    Edit(
        "SUBSCRIPTION_REMOVED",
        '      subscribes_to: "shop.v1.Released"\n',
        "",
        REACT,
        "(solo60.mesh.v1.policy) = {",
        ("shop.v1.Released",),
        "SUBSCRIPTION_ADDED",
    ),
    Edit("EVENT_REMOVED", EVENT, "", "shop.v1.Released", "message Released", (REACT,), "EVENT_ADDED"),
    Edit(
        "AGGREGATE_KEY_CHANGED",
        'aggregate_key: "order_id"',
        "",
        "shop.v1.Released",
        "v1.event",
        (REACT,),
        "AGGREGATE_KEY_CHANGED",
    ),
    Edit(
        "EVENT_FIELD_REMOVED",
        "  Reason reason = 2;\n",
        "  reserved 2;\n",
        "shop.v1.Released.reason",
        "message Released",
        (REACT,),
    ),
    Edit("EVENT_FIELD_REMOVED", "  string note = 2;\n", "", "shop.v1.Reason.note", "message Reason", (REACT,)),
    # Fields.
    Edit(
        "PII_REMOVED",
        " [(solo60.mesh.v1.pii) = true]",
        "",
        "shop.v1.PlaceOrderRequest.recipient",
        "recipient",
        (SHOP,),
        "PII_ADDED",
    ),
    Edit(
        "FIELD_DEPRECATED",
        "string page_token = 2;",
        "string page_token = 2 [deprecated = true];",
        "shop.v1.ListItemsRequest.page_token",
        " page_token",
        (),
        "FIELD_DEPRECATION_REMOVED",
    ),
    Edit(
        "REQUEST_FIELD_REQUIRED",
        "message GetItemRequest {",
        "message GetItemRequest {\n  string shop = 9 [(buf.validate.field).string.uuid = true];",
        "shop.v1.GetItemRequest.shop",
        "string shop",
        (ORDER,),
    ),
    Edit(
        "PAGE_LIMIT_LOWERED",
        "repeated.max_items = 100",
        "repeated.max_items = 50",
        "shop.v1.ListItemsResponse.items",
        "max_items",
        (),
        "RESPONSE_RULE_LOOSENED",
    ),
    Edit(
        "PAGE_LIMIT_LOWERED",
        "int32.lte = 200",
        "int32.lte = 100",
        "shop.v1.ListItemsRequest.page_size",
        "page_size",
        (),
        "REQUEST_RULE_LOOSENED",
    ),
)


def request_rule(old: str, new: str, field: str, line: str) -> Edit:
    """Return a change that tightens a rule of GetItem's request."""
    return Edit(
        "REQUEST_RULE_TIGHTENED", old, new, f"shop.v1.GetItemRequest{field}", line, (ORDER,), "REQUEST_RULE_LOOSENED"
    )


def response_rule(old: str, new: str, field: str, line: str) -> Edit:
    """Return a change that loosens a rule of GetItem's response."""
    return Edit(
        "RESPONSE_RULE_LOOSENED",
        old,
        new,
        f"shop.v1.GetItemResponse.{field}",
        line,
        (ORDER,),
        "RESPONSE_RULE_TIGHTENED",
    )


ITEM = "string name = 1 [(buf.validate.field).string.max_len = 50]"
SHORT_ITEM = ITEM.replace("50", "40")
RULE_CHANGES = (
    request_rule("lte: 90", "lt: 90", ".shelf", "lt: 90"),
    request_rule("gte: 0\n", "gte: 1\n", ".shelf", "gte: 1"),
    request_rule("not_in: [13]", "not_in: [13,\n14]", ".shelf", "not_in"),
    request_rule('"hall",\n      ', "", ".place", "in: ["),
    request_rule("max_len: 50", "max_len: 40", ".name", "max_len: 40"),
    request_rule("max_len: 50", "max_len: 50\n    min_len: 1", ".name", "min_len: 1"),
    request_rule("max_len: 50", "max_len: 50 \n[solo60.common.v1.name]: true", ".name", "solo60.common.v1.name"),
    request_rule('    pattern: "^[a-z]*$"\n  }]', "  }, (buf.validate.field).required = true]", ".name", "required"),
    request_rule(
        "oneof by {", "oneof by {\n    option (buf.validate.oneof).required = true;", ".by", "message GetItemRequest"
    ),
    request_rule(CEL, CEL + CEL.replace("by_name_or_sku", "other"), "", "(buf.validate.message).cel"),
    Edit("RULE_CHANGED", '"^[a-z]*$"', '"^[a-y]*$"', "shop.v1.GetItemRequest.name", "a-y", (ORDER,), "RULE_CHANGED"),
    Edit(
        "RULE_CHANGED",
        "'' || this",
        "'' && this",
        "shop.v1.GetItemRequest",
        "(buf.validate.message).cel",
        (ORDER,),
        "RULE_CHANGED",
    ),
    Edit(
        "RULE_CHANGED",
        "'^[A-Z]+$'",
        "'^[A-Y]+$'",
        "shop.v1.sku",
        '"string.sku"',
        (ORDER,),
        "RULE_CHANGED",
    ),
    response_rule("int32.lte = 1000", "int32.lte = 2000", "pieces", "2000"),
    response_rule(" [(buf.validate.field).int32.lte = 1000]", "", "pieces", "int32 pieces = 2"),
    response_rule("min_items = 1", "min_items = 0", "parts", "min_items"),
    Edit("REQUEST_RULE_TIGHTENED", ITEM, SHORT_ITEM, "shop.v1.Item.name", "40", (SHOP,), "RESPONSE_RULE_LOOSENED"),
    Edit("RESPONSE_RULE_TIGHTENED", ITEM, SHORT_ITEM, "shop.v1.Item.name", "40", (), "REQUEST_RULE_LOOSENED"),
)
