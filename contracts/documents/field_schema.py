"""JSON schemas of fields: protobuf's JSON form of each type, and the protovalidate rules of the field."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.descriptor import FieldDescriptor

from contracts.documents.json_schema import Constraints, Schema
from contracts.documents.number_rules import KNOWN_RULES, add_lists, float_schema, integer_schema, long_schema
from contracts.documents.rule_words import PREDEFINED, rule_in_words
from contracts.documents.text_rules import add_bytes_rule, add_cel_pattern, add_string_rule
from contracts.documents.well_known_types import FIELD_MASK, add_mask_rules, well_known_schema
from contracts.message_types import WRAPPERS, is_map

if TYPE_CHECKING:
    from google.protobuf.descriptor import EnumDescriptor

    from contracts.documents.catalog import Catalog
    from contracts.field_value import FieldValue

IGNORE_IF_ZERO_VALUE, IGNORE_ALWAYS = 1, 3
_LONG = {
    FieldDescriptor.TYPE_INT64: False, FieldDescriptor.TYPE_SINT64: False, FieldDescriptor.TYPE_SFIXED64: False,
    FieldDescriptor.TYPE_UINT64: True, FieldDescriptor.TYPE_FIXED64: True,
}  # fmt: skip
_FLOAT = {FieldDescriptor.TYPE_FLOAT: "float", FieldDescriptor.TYPE_DOUBLE: "double"}
_UNSIGNED = (FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_FIXED32)
# Keywords that also hold for the zero value.
_KIND = ("type", "format", "contentEncoding")
_COUNTS = {"min_items": "minItems", "max_items": "maxItems", "min_pairs": "minProperties", "max_pairs": "maxProperties"}


class FieldSchemas:
    """Schemas of the fields of a catalog's messages, with references to the components of messages and enums."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def schema_of(self, field: FieldDescriptor) -> Constraints:
        """Return the schema of a field, with notes on the rules that it does not express."""
        rules = self._catalog.rules_of(field)
        if rules is not None and rules.ignore == IGNORE_ALWAYS:
            rules = None
        if is_map(field):
            return self._map(field, rules)
        if field.is_repeated:
            return self._list(field, rules)
        return self._single(field, rules)

    def _list(self, field: FieldDescriptor, rules: FieldValue | None) -> Constraints:
        found = Constraints({"type": "array"})
        items = self._single(field, rules.repeated.items if rules is not None else None)
        found.schema["items"] = items.schema
        found.notes += [f"Each item: {note}" for note in items.notes]
        if rules is not None:
            _add_counts(rules.repeated, found)
            if rules.repeated.unique:
                found.add(uniqueItems=True)
            _require_some(rules, found, "minItems")
        _add_cel(rules, found)
        return found

    def _map(self, field: FieldDescriptor, rules: FieldValue | None) -> Constraints:
        found = Constraints({"type": "object"})
        entry = field.message_type
        assert entry is not None  # noqa: S101 - a map field has entries
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        values = self._single(value, rules.map.values if rules is not None else None)
        found.schema["additionalProperties"] = values.schema
        keys = self._key(key, rules.map.keys if rules is not None else None)
        if keys.schema.keys() - {"type"}:
            found.schema["propertyNames"] = keys.schema
        found.notes += [f"Each key: {note}" for note in keys.notes] + [f"Each value: {note}" for note in values.notes]
        if rules is not None:
            _add_counts(rules.map, found)
            _require_some(rules, found, "minProperties")
        _add_cel(rules, found)
        return found

    def _key(self, field: FieldDescriptor, rules: FieldValue | None) -> Constraints:
        """Return the schema of the names in a JSON object, which are always strings."""
        if field.type == FieldDescriptor.TYPE_BOOL:
            return Constraints({"enum": ["true", "false"]})
        if field.type == FieldDescriptor.TYPE_STRING:
            return self._single(field, rules)
        of_type = _of_type(rules)
        found = Constraints(long_schema(of_type, is_unsigned=_is_unsigned(field)))
        found.schema.pop("format")
        if of_type is not None:
            add_lists(of_type, found, as_text=True)
        return found

    def _single(self, field: FieldDescriptor, rules: FieldValue | None) -> Constraints:
        found = self._typed(field, rules)
        _add_cel(rules, found, is_text=field.type == FieldDescriptor.TYPE_STRING)
        if rules is None or field.message_type is not None:
            return found
        if rules.required and not field.has_presence:
            found.add_all(_not_zero(field))
        if rules.ignore == IGNORE_IF_ZERO_VALUE:
            _allow_zero(field, found)
        return found

    def _typed(self, field: FieldDescriptor, rules: FieldValue | None) -> Constraints:
        of_type = _of_type(rules)
        if field.message_type is not None:
            return self._message(field, rules, of_type)
        if field.enum_type is not None:
            return self._enum(field.enum_type, of_type)
        found = Constraints(_scalar_schema(field, of_type))
        if of_type is None:
            return found
        if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
            self._add_texts(field, of_type, found)
        else:
            add_lists(of_type, found, as_text=field.type in _LONG)
            self._note_others(of_type, found, known=KNOWN_RULES)
        return found

    def _message(self, field: FieldDescriptor, rules: FieldValue | None, of_type: FieldValue | None) -> Constraints:
        message = field.message_type
        assert message is not None  # noqa: S101 - the caller has checked it
        if message.full_name in WRAPPERS:
            return self._typed(message.fields_by_name["value"], rules)
        well_known = well_known_schema(message.full_name)
        found = Constraints(well_known if well_known is not None else reference(message.full_name))
        if of_type is not None and message.full_name == FIELD_MASK:
            add_mask_rules(of_type, found)
        elif of_type is not None:
            self._note_others(of_type, found, known=frozenset())
        return found

    def _enum(self, enum: EnumDescriptor, of_type: FieldValue | None) -> Constraints:
        if enum.full_name == "google.protobuf.NullValue":
            return Constraints({"type": "null"})
        found = Constraints(reference(enum.full_name))
        declared = {} if of_type is None else {field.name: value for field, value in of_type.ListFields()}
        names = {value.number: value.name for value in enum.values}
        if "const" in declared:
            found.add(const=names.get(declared["const"], declared["const"]))
        if "in" in declared:
            found.add(enum=[names.get(number, number) for number in declared["in"]])
        if "not_in" in declared:
            found.add(_not={"enum": [names.get(number, number) for number in declared["not_in"]]})
        if not declared.get("defined_only") and "in" not in declared and "const" not in declared:
            # JSON writes the number of a value that the contract does not name.
            found.schema = {"anyOf": [found.schema, {"type": "integer", "format": "int32"}]}
        if of_type is not None:
            known = frozenset({"const", "in", "not_in", "defined_only", "example"})
            self._note_others(of_type, found, known=known)
        return found

    def _add_texts(self, field: FieldDescriptor, of_type: FieldValue, found: Constraints) -> None:
        for rule, value in of_type.ListFields():
            if field.type == FieldDescriptor.TYPE_BYTES:
                added = add_bytes_rule(rule.name, value, found)
            else:
                added = not rule.is_extension and add_string_rule(rule.name, value, found)
            if not added:
                self._add_predefined(rule, value, found)

    def _add_predefined(self, rule: FieldDescriptor, value: object, found: Constraints) -> None:
        """Add a predefined rule in words, and also the patterns that its CEL expressions match."""
        predefined = self._catalog.option_of(rule, PREDEFINED)
        if predefined is not None and rule.is_extension and value is True:
            for cel in predefined.cel:
                add_cel_pattern(cel.expression, found)
        found.notes.append(rule_in_words(self._catalog, rule, value))

    def _note_others(self, of_type: FieldValue, found: Constraints, known: frozenset[str]) -> None:
        for rule, value in of_type.ListFields():
            if rule.is_extension or (rule.name not in known and rule.name != "example"):
                found.notes.append(rule_in_words(self._catalog, rule, value))


def reference(name: str) -> Schema:
    """Return a reference to the component of a message or an enum."""
    return {"$ref": f"#/components/schemas/{name}"}


def _scalar_schema(field: FieldDescriptor, of_type: FieldValue | None) -> Schema:
    if field.type == FieldDescriptor.TYPE_STRING:
        return {"type": "string"}
    if field.type == FieldDescriptor.TYPE_BYTES:
        return {"type": "string", "contentEncoding": "base64"}
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"type": "boolean"}
    if field.type in _FLOAT:
        return float_schema(of_type, kind=_FLOAT[field.type])
    if field.type in _LONG:
        return long_schema(of_type, is_unsigned=_LONG[field.type])
    return integer_schema(of_type, is_unsigned=_is_unsigned(field))


def _of_type(rules: FieldValue | None) -> FieldValue | None:
    """Return the rules that belong to the type of the field, such as StringRules."""
    kind = None if rules is None else rules.WhichOneof("type")
    return None if rules is None or kind is None else getattr(rules, kind)


def _is_unsigned(field: FieldDescriptor) -> bool:
    return field.type in _UNSIGNED or _LONG.get(field.type, False)


def _zero(field: FieldDescriptor) -> object:
    if field.enum_type is not None:
        return field.enum_type.values_by_number[0].name
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        return ""
    if field.type == FieldDescriptor.TYPE_BOOL:
        return False
    return "0" if field.type in _LONG else 0


def _not_zero(field: FieldDescriptor) -> Schema:
    zero = _zero(field)
    return {"minLength": 1} if zero == "" else {"not": {"const": zero}}


def _allow_zero(field: FieldDescriptor, found: Constraints) -> None:
    """Accept the zero value beside the values that the rules accept."""
    kind: Schema = {key: found.schema.pop(key) for key in _KIND if key in found.schema}
    if not found.schema:
        found.schema = kind
        return
    if "format" in kind and kind.get("type") == "string" and field.type == FieldDescriptor.TYPE_STRING:
        found.schema = {"format": kind.pop("format")} | found.schema
    found.schema = kind | {"anyOf": [{"const": _zero(field)}, found.schema]}


def _add_cel(rules: FieldValue | None, found: Constraints, *, is_text: bool = False) -> None:
    for cel in rules.cel if rules is not None else ():
        if is_text:
            add_cel_pattern(cel.expression, found)
        found.notes.append(cel.message or f"`{cel.expression}`")
    found.notes += [f"`{expression}`" for expression in (rules.cel_expression if rules is not None else ())]


def _add_counts(rules: FieldValue, found: Constraints) -> None:
    for rule, value in rules.ListFields():
        if rule.name in _COUNTS:
            found.add_all({_COUNTS[rule.name]: value})


def _require_some(rules: FieldValue, found: Constraints, least: str) -> None:
    """Apply `required` and `ignore` to the minimum size of a list or a map."""
    if rules.required:
        found.schema[least] = max(1, found.schema.get(least, 0))
    elif rules.ignore == IGNORE_IF_ZERO_VALUE and least in found.schema:
        found.schema["anyOf"] = [{least.replace("min", "max"): 0}, {least: found.schema.pop(least)}]
