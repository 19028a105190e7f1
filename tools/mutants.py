"""Mutation testing: breaks canuse in one place after another, in a copy of the tree, and checks that a test fails.

Each break is reported in a line, red if a test has failed. The exit status is 1 if one was not noticed. Words on the
command line select the breaks whose names contain one of them; the unbroken tree is then not tested first.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
COPIED: Final = ("bench", "client", "docs", "server", "tests", "pyproject.toml")
MACHINE: Final = "tests/model/test_machine.py::test_a_server_answers_as_the_model_does[native]"
ORDERS: Final = "tests/model/test_serial_orders.py"
CLUSTER: Final = "tests/faults/test_cluster.py"
LOST_REPLIES: Final = "tests/chaos/test_lost_replies.py"
TOKENS: Final = "tests/conformance/test_user_tokens.py"
MATRIX: Final = "tests/conformance/test_api_key_matrix.py"
SCRIPTS: Final = "server/canuse_server/store/scripts"
TRIMMING: Final = "tests/store/test_trimming.py"
AUDIT: Final = "tests/conformance/test_audit_log.py"
AUDIT_IN_STORE: Final = "tests/store/test_audit_log.py"
RETRIES: Final = "tests/unit/test_client_retries.py"
FORKS: Final = "tests/faults/test_client_fork.py"
USING: Final = "tests/conformance/test_client_using.py"
UNAVAILABLE: Final = "tests/unit/test_client_unavailable.py"
CONSOLE: Final = "server/canuse_server/transport/http/console"
SESSIONS: Final = "tests/console/test_sessions.py::test_"
PAGES: Final = "tests/console/test_pages.py::test_"
LEASES: Final = "tests/conformance/test_list_leases.py::test_"
DOCUMENTS: Final = "tests/conformance/test_catalog_documents.py::test_"
LOCAL: Final = "tests/leases/test_local_decisions.py::test_"
ACCOUNT: Final = "tests/leases/test_account.py::test_"
ENDING: Final = "tests/leases/test_ending.py::test_"
LENDING: Final = "client/canuse/leases"
DOCUMENTS_IN_STORE: Final = "tests/store/test_catalog_documents.py"


class Mutant(NamedTuple):
    """A break: the text to replace, its replacement, and the test that must fail."""

    name: str
    file: str
    old: str
    new: str
    test: str = MACHINE


MUTANTS: Final = (
    Mutant(
        "dedupe fingerprint: without features and amounts",
        "server/canuse_server/store/codec/event_ids.py",
        "serialized = _serialize((method, content, sorted(metadata.items())))",
        "serialized = _serialize((method, sorted(metadata.items())))",
    ),
    Mutant(
        "dedupe fingerprint: without the metadata",
        "server/canuse_server/store/codec/event_ids.py",
        "serialized = _serialize((method, content, sorted(metadata.items())))",
        "serialized = _serialize((method, content))",
    ),
    Mutant(
        "dedupe fingerprint: not compared",
        f"{SCRIPTS}/lib/dedupe.lua",
        "if string.sub(kept, 1, FINGERPRINT_BYTES) ~= fingerprint then return 'X' end",
        "",
    ),
    Mutant(
        "batches: a use overtakes one that was not recorded",
        f"{SCRIPTS}/lib/chain.lua",
        "if made ~= math.abs(place) then",
        "if false then",
        "tests/store/test_chains.py",
    ),
    Mutant(
        "batches: a use overtakes one that was left to the other script",
        f"{SCRIPTS}/record_batch.lua",
        "waits = waits or not read()",
        "waits = not read()",
        "tests/store/test_batch_scripts.py",
    ),
    Mutant(
        "batches: a part is recorded behind one that was left to the other script",
        f"{SCRIPTS}/record_batch.lua",
        "if waits and step_back then step_back() end",
        "",
        "tests/store/test_batch_scripts.py",
    ),
    Mutant(
        "batches: an event id of an older hash is not found",
        f"{SCRIPTS}/record_batch.lua",
        "known = dedupe_find(first + 3, id, open, a, b, c, d)",
        "",
        "tests/store/test_batch_scripts.py",
    ),
    Mutant(
        "batches: the count of a feature is lost at the next one",
        f"{SCRIPTS}/record_batch.lua",
        "    if number ~= user or next_feature ~= feature then\n      save()",
        "    if number ~= user or next_feature ~= feature then\n      changed = false",
        "tests/store/test_batch_scripts.py",
    ),
    Mutant(
        "batches: a repeated check does not see a new count",
        "server/canuse_server/api/hotpath/batch/checks.py",
        "check.from_ms <= now_ms < check.until_ms and reply == check.reply",
        "check.from_ms <= now_ms < check.until_ms and check.reply is not None",
        "tests/store/test_batch_planners.py",
    ),
    Mutant(
        "batches: a repeated check does not see a changed feature",
        "server/canuse_server/api/hotpath/batch/checks.py",
        "if self._features.get(feature.id) is feature:",
        "if feature.id in self._features:",
        "tests/store/test_batch_planners.py",
    ),
    Mutant(
        "reset boundary: a month that ends is still open, in a batch",
        f"{SCRIPTS}/record_batch.lua",
        "if now >= valid_until then return false end",
        "if now > valid_until then return false end",
        "tests/store/test_batch_scripts.py",
    ),
    Mutant(
        "clocks: a count of a period far ahead stays there, in the scripts",
        f"{SCRIPTS}/lib/account.lua",
        "if finish and used_from > finish then return nil end",
        "",
        "tests/store/test_rule_equality.py",
    ),
    Mutant(
        "clocks: a count of a period far ahead continues in the current one",
        "server/canuse_server/domain/carry_over.py",
        "carry_overs.append(CarryOver(feature_id, end_ms, 0, entitlement.limit, end_ms))",
        "carry_overs.append(CarryOver(feature_id, 0, 0, entitlement.limit, entitlement.period_at(now_ms).start_ms))",
        "tests/store/test_clock_ran_ahead.py",
    ),
    Mutant(
        "event ids: kept for a fact that was not recorded",
        f"{SCRIPTS}/record_usage.lua",
        "if event and remembered then",
        "if event then",
    ),
    Mutant(
        "grant order: by expiry before priority",
        "server/canuse_server/domain/model.py",
        'return (self.priority, float("inf") if self.expires_at_ms is None else self.expires_at_ms, self.id)',
        'return (float("inf") if self.expires_at_ms is None else self.expires_at_ms, self.priority, self.id)',
    ),
    Mutant(
        "grant order: returned to the first one first",
        f"{SCRIPTS}/lib/grants.lua",
        "for i = #grants, 1, -1 do",
        "for i = 1, #grants do",
    ),
    Mutant(
        "grant order: grants before the package",
        f"{SCRIPTS}/lib/account.lua",
        "draw(account.grants, total - package - drawn, now)",
        "draw(account.grants, total - account.used, now)",
    ),
    Mutant(
        "reset boundary: a day that ends is still open, in the script",
        f"{SCRIPTS}/lib/period.lua",
        "math.floor((now - start) / length) * length end",
        "math.floor((now - start - 1) / length) * length end",
    ),
    Mutant(
        "reset boundary: a month that ends is still open, in a check",
        "server/canuse_server/store/repositories/usage_commands.py",
        "entitlement.valid_until_ms <= now_ms:",
        "entitlement.valid_until_ms < now_ms:",
    ),
    Mutant(
        "reset boundary: a month that ends is still open, on the script's short path",
        f"{SCRIPTS}/record_usage.lua",
        "fresh = fresh and now < valid_until",
        "fresh = fresh and now <= valid_until",
    ),
    Mutant(
        "reset boundary: a month that ends is still open, on the script's long path",
        f"{SCRIPTS}/lib/account.lua",
        "account.valid_until and now >= account.valid_until",
        "account.valid_until and now > account.valid_until",
    ),
    Mutant(
        "reset boundary: a count continues past its period",
        "server/canuse_server/domain/carry_over.py",
        "period.end_ms <= now_ms",
        "period.end_ms < now_ms",
    ),
    Mutant(
        "reset boundary: a grant is open a moment longer",
        f"{SCRIPTS}/lib/grants.lua",
        "now < grant.expires)",
        "now <= grant.expires)",
    ),
    Mutant(
        "clamp at zero: not on the script's short path",
        f"{SCRIPTS}/record_usage.lua",
        "if total < 0 then total = 0 end",
        "",
    ),
    Mutant(
        "clamp at zero: not on the script's long path",
        f"{SCRIPTS}/record_usage.lua",
        "charge.total = math.max(0, mode == 'S' and delta or charge.used + delta)",
        "charge.total = mode == 'S' and delta or charge.used + delta",
    ),
    Mutant(
        "all or nothing: charges are recorded beside a refused one",
        f"{SCRIPTS}/record_usage.lua",
        "charge.counted = charge.counted and (refused == 0 or charge.fact)",
        "",
    ),
    Mutant(
        "leases: one expires a moment later",
        f"{SCRIPTS}/lib/leases.lua",
        "return moment <= now or",
        "return moment < now or",
    ),
    Mutant(
        "leases: less than the requested minimum is granted",
        f"{SCRIPTS}/reserve.lua",
        "if rest >= tonumber(ARGV[7]) then",
        "if rest >= 1 then",
    ),
    Mutant(
        "leases: a late settlement releases the amount again",
        f"{SCRIPTS}/settle.lua",
        "if lease.state == OPEN and is_latest then",
        "if is_latest then",
    ),
    Mutant(
        "leases: one of a past period draws from no grant",
        f"{SCRIPTS}/settle.lua",
        "local drawn = draw_for_past(account.grants, beyond, now)",
        "local drawn = 0",
    ),
    Mutant(
        "past periods: kept for ever, in the scripts",
        f"{SCRIPTS}/lib/history.lua",
        "if first.finish + kept_days * DAY_MS_OF_PAST > now then break end",
        "break",
        "tests/store/test_scripts.py",
    ),
    Mutant(
        "past periods: the sum of a day without the overage of its hours",
        f"{SCRIPTS}/lib/history.lua",
        "overage = math.min(overage_of(one) + overage_of(other), MAX_AMOUNT),",
        "overage = 0,",
        "tests/store/test_past_periods.py",
    ),
    Mutant(
        "past periods: a lease does not find the sum that its hour is part of",
        f"{SCRIPTS}/lib/history.lua",
        "if period.first_epoch <= epoch and epoch <= period.epoch then",
        "if epoch == period.epoch then",
        "tests/store/test_past_periods.py",
    ),
    Mutant(
        "search: an old value is not left",
        f"{SCRIPTS}/apply_user.lua",
        "if score == '' then redis.call('ZREM', index, ARGV[3]) else redis.call('ZADD', index, score, ARGV[3]) end",
        "if score ~= '' then redis.call('ZADD', index, score, ARGV[3]) end",
        "tests/store/test_user_search.py",
    ),
    Mutant(
        "search: a deleted user stays in the indexes",
        f"{SCRIPTS}/delete_user.lua",
        "for i = last_own + 1, #KEYS do redis.call('ZREM', KEYS[i], ARGV[1]) end",
        "",
        "tests/store/test_user_search.py",
    ),
    Mutant(
        "usage totals: without a count whose period has ended since the last use",
        "server/canuse_server/api/users/usage.py",
        "found = kept([*stored, *([rolled] if rolled else ())]",
        "found = kept([*stored]",
    ),
    Mutant(
        "leases: what is reserved does not move with the count",
        f"{SCRIPTS}/apply_user.lua",
        "      move_reservation(feature, used_from, tonumber(new_start))\n",
        "",
    ),
    Mutant(
        "leases: a period in which none was taken counts as one with leases",
        f"{SCRIPTS}/apply_user.lua",
        "struct.pack(RESERVATION, epoch + 1, NO_PERIOD, 0)",
        "struct.pack(RESERVATION, epoch + 1, new_start or start, 0)",
        "tests/conformance/test_found_by_the_model.py",
    ),
    Mutant(
        "revision guard: none",
        f"{SCRIPTS}/apply_user.lua",
        "if (redis.call('HGET', KEYS[1], 'm') or '') ~= ARGV[1] then return 0 end",
        "",
        ORDERS,
    ),
    Mutant(
        "kill -9: event ids are not kept",
        f"{SCRIPTS}/record_usage.lua",
        "if redis.call('HSETNX', key, id, kept) == 0 then",
        "if false then",
        "tests/chaos/test_kill_nine.py",
    ),
    Mutant(
        "event ids: the first id of a hash is not stored",
        f"{SCRIPTS}/lib/dedupe_begin.lua",
        "redis.call('HSET', KEYS[first + open - 1], id, value)",
        "",
    ),
    Mutant(
        "event ids: the third hash is not searched",
        f"{SCRIPTS}/lib/dedupe.lua",
        "or c > 0 and open ~= 3 and redis.call('HGET', KEYS[first + 2], id)",
        "",
        "tests/store/test_event_id_hashes.py",
    ),
    Mutant(
        "event ids: stored in a hash that expires too early",
        f"{SCRIPTS}/lib/dedupe.lua",
        "local least, most = now + ttl, now + 2 * ttl",
        "local least, most = now, now + 2 * ttl",
        "tests/store/test_event_id_hashes.py",
    ),
    Mutant(
        "event ids: one with a short ttl is stored with the long ones",
        f"{SCRIPTS}/lib/dedupe.lua",
        "local least, most = now + ttl, now + 2 * ttl",
        "local least, most = now + ttl, now + 1e12",
        "tests/store/test_event_id_hashes.py",
    ),
    Mutant(
        "stored answers: the applied delta is always the requested one",
        f"{SCRIPTS}/lib/kept.lua",
        "if applied ~= asked or used",
        "if used",
        "tests/store/test_rule_equality.py",
    ),
    Mutant(
        "stored answers: the short way returns the period of the entitlement",
        f"{SCRIPTS}/record_usage.lua",
        "if start >= finish and finish > 0 then shown, finish = start, start + length end",
        "",
        "tests/store/test_event_id_hashes.py",
    ),
    Mutant(
        "reply lost: event ids of Reserve are not kept",
        f"{SCRIPTS}/reserve.lua",
        "event_store(KEYS[1], FIRST_EVENT_KEY, event, fields[6], lease .. string.char(refused) .. charge, now)",
        "",
        LOST_REPLIES,
    ),
    Mutant(
        "reply lost: event ids of Settle are not kept",
        f"{SCRIPTS}/settle.lua",
        "event_store(KEYS[1], FIRST_EVENT_KEY, event, fields[6], late .. string.char(0) .. charge, now)",
        "",
        LOST_REPLIES,
    ),
    Mutant(
        "reply lost: the lane reports that nothing was written",
        "server/canuse_server/transport/native/lane.py",
        "to_api_error(method.path, OutcomeUnknownError(str(error)))",
        "to_api_error(method.path, StoreUnavailableError(str(error)))",
        LOST_REPLIES,
    ),
    Mutant(
        "reply lost: the lane retries the write",
        "server/canuse_server/transport/native/lane.py",
        "if method.writes:\n                self._responder.fail(",
        "if not method.writes:\n                self._responder.fail(",
        LOST_REPLIES,
    ),
    Mutant(
        "reply lost: the event loop reports that nothing was written",
        "server/canuse_server/store/redis/connection.py",
        "lost = self.writes and self.sent",
        "lost = False",
        LOST_REPLIES,
    ),
    Mutant(
        "slow store: a write that timed out is reported as not written",
        "server/canuse_server/store/redis/connection.py",
        "(OutcomeUnknownError if writes else StoreUnavailableError)(self._silence)",
        "StoreUnavailableError(self._silence)",
        "tests/chaos/test_slow_store.py",
    ),
    Mutant(
        "power cut: a store's false confirmation is accepted",
        "server/canuse_server/store/redis/durability.py",
        "if self.on_disk and (unmet := disk_problem(*replies[-2:])):",
        "if False and (unmet := disk_problem(*replies[-2:])):",
        "tests/faults/test_durability.py::test_a_store_that_confirms_what_is_not_on_its_disk_is_not_believed",
    ),
    Mutant(
        "partition: a write that no replica has confirmed is acknowledged",
        "server/canuse_server/store/redis/durability.py",
        "if not isinstance(count, int) or count < required:",
        "if not isinstance(count, int):",
        "tests/chaos/test_partitions.py::test_a_replica_that_was_cut_off_takes_over_and_lacks_nothing_that_waited_for_it",
    ),
    Mutant(
        "out of memory: OOM is not known as a refusal",
        "server/canuse_server/store/redis/replies.py",
        '        "OOM",\n',
        "",
        "tests/chaos/test_out_of_memory.py",
    ),
    Mutant(
        "cluster: a key that is being moved is treated as moved",
        "server/canuse_server/store/redis/replies.py",
        '(AskError if word == "ASK" else MovedError)(text',
        "MovedError(text",
        CLUSTER,
    ),
    Mutant(
        "cluster: a node that moves its keys is treated as unavailable",
        "server/canuse_server/store/redis/replies.py",
        'if word in ("TRYAGAIN", "CLUSTERDOWN"):',
        'if word == "CLUSTERDOWN":',
        CLUSTER,
    ),
    Mutant(
        "sentinel: writes do not wait for the replicas",
        "server/canuse_server/transport/native/lane.py",
        "if self._durable_writer is None:\n            return calls",
        "if self._durable_writer is not None or not self._durable_writer:\n            return calls",
        "tests/faults/test_durability.py",
    ),
    Mutant(
        "archived: the bit of the charge behind it",
        f"{SCRIPTS}/record_usage.lua",
        "has(archived, 2 ^ (number - 1))",
        "has(archived, 2 ^ number)",
        "tests/store/test_rule_equality.py",
    ),
    Mutant(
        "background: a task that lost its cancellation is not cancelled again",
        "server/canuse_server/runtime/background.py",
        "while waiting :=",
        "if waiting :=",
        "tests/store/test_keep_fresh.py",
    ),
    Mutant(
        "pauses: long work in threads takes none",
        "server/canuse_server/runtime/thread_pauses.py",
        "    if now < CALLS.last_at + QUIET_SECONDS:",
        "    if False:",
        "tests/unit/test_thread_pauses.py",
    ),
    Mutant(
        "pauses: the lane does not say that it was called",
        "server/canuse_server/transport/native/call_queue.py",
        "            CALLS.last_at = now",
        "            pass",
        "tests/faults/test_calls_and_long_work.py",
    ),
    Mutant(
        "fairness: all repairs of a batch at once",
        "server/canuse_server/api/hotpath/batch/execution.py",
        "_REPAIRS_AT_ONCE: Final = 16",
        "_REPAIRS_AT_ONCE: Final = 1000",
        "tests/store/test_batch_fairness.py",
    ),
    Mutant(
        "fairness: waiting for a turn counts as waiting for the store",
        "server/canuse_server/runtime/fairness.py",
        "            deadline.extend(self._replied_at)\n",
        "",
        "tests/faults/test_store_unavailable.py",
    ),
    Mutant(
        "shutdown: lanes wait for the store without a bound",
        "server/canuse_server/transport/native/server.py",
        "lane.give_up()",
        "lane.is_alive()",
        "tests/faults/test_shutdown.py",
    ),
    Mutant(
        "shutdown: checks that the lanes give up are delegated to the event loop",
        "server/canuse_server/store/redis/blocking_connection.py",
        'TimeoutError("canuse is stopping")',
        'ConnectionResetError("canuse is stopping")',
        "tests/faults/test_lane_connection.py",
    ),
    Mutant(
        "fairness: breaks count as waiting for the store",
        "server/canuse_server/runtime/fairness.py",
        "budget.yield_if_due():\n        note_work()\n",
        "budget.yield_if_due():\n        return\n",
        "tests/unit/test_fairness.py",
    ),
    Mutant(
        "fairness: concurrent pages take no breaks",
        "server/canuse_server/runtime/fairness.py",
        "if self._under_way > 1 else 0",
        "if self._under_way > 9 else 0",
        "tests/unit/test_fairness.py",
    ),
    Mutant(
        "metadata: unlimited until the caller acknowledges the limit",
        "server/canuse_server/api/metadata.py",
        "if size > MAX_METADATA_BYTES:",
        "if size > 100 * MAX_METADATA_BYTES:",
        "tests/faults/test_overload.py",
    ),
    Mutant(
        "reflection: unlimited answers",
        "server/canuse_server/transport/reflection.py",
        "if amount > self._available:",
        "if amount > self._capacity:",
        "tests/unit/test_reflection_limit.py",
    ),
    Mutant(
        "deadline: not checked again after the lane was late",
        "server/canuse_server/transport/native/lane.py",
        "not (\n            calls := self.fail_expired(calls, time.monotonic())\n        )",
        "not calls",
        "tests/faults/test_overload.py",
    ),
    Mutant(
        "full disk: MISCONF is not known as a refusal",
        "server/canuse_server/store/redis/replies.py",
        '        "MISCONF",\n',
        "",
        "tests/chaos/test_full_disk.py",
    ),
    Mutant(
        "package change: what was planned before stays",
        "server/canuse_server/domain/package_change.py",
        "return PackageChange(new, is_new=True, replaced=(*ending, *_ended(planned, now_ms)))",
        "return PackageChange(new, is_new=True, replaced=ending)",
    ),
    Mutant(
        "package change: a planned change is not withdrawn",
        "server/canuse_server/domain/package_change.py",
        "current = replace(current, cancel_at_ms=None)",
        "pass",
    ),
    Mutant(
        "package change: a late payment is forgotten",
        "server/canuse_server/domain/package_change.py",
        "new = replace(new, status=current.status, trial_end_ms=trial_end_ms)",
        "",
    ),
    Mutant(
        "package change: an earlier end is passed over",
        "server/canuse_server/domain/package_change.py",
        "starts_at_ms = min(ends)",
        "starts_at_ms = max(ends)",
        "tests/conformance/test_change_package.py",
    ),
    Mutant(
        "package change: an answer that nothing changes is not kept",
        "server/canuse_server/api/services/subscription_service/package_changes.py",
        "if not (event or change.changes):",
        "if not change.changes:",
    ),
    Mutant(
        "ensure user: a planned package does not count",
        "server/canuse_server/domain/subscriptions.py",
        "return next(iter(coming_bases(subscriptions, packages, now_ms)), None)",
        "return next((b for b in coming_bases(subscriptions, packages, now_ms) if b.started_at_ms <= now_ms), None)",
        "tests/conformance/test_ensure_user.py",
    ),
    Mutant(
        "ensure user: another add-on counts",
        "server/canuse_server/domain/subscriptions.py",
        "if item.package_id == package.id and not has_ended(item, now_ms)]",
        "if not has_ended(item, now_ms)]",
    ),
    Mutant(
        "ensure user: fields that were not sent are changed",
        "server/canuse_server/api/services/ensure_user.py",
        'disabled = user.disabled if "disabled" in chosen else state.meta.disabled',
        "disabled = user.disabled",
    ),
    Mutant(
        "scopes: a key for users deletes them",
        "server/canuse_server/api/scopes.py",
        '        Scope.CATALOG_WRITE: "DeleteUser",',
        '        f"{Scope.CATALOG_WRITE} {Scope.USERS_WRITE}": "DeleteUser",',
        MATRIX,
    ),
    Mutant(
        "tokens: calls with one are not checked",
        "server/canuse_server/api/dispatch.py",
        "await check_token(context, payload)",
        "pass",
        TOKENS,
    ),
    Mutant(
        "tokens: the lane answers calls with one",
        "server/canuse_server/transport/native/lane.py",
        "if is_promised and not caller.has_token and",
        "if is_promised and",
        TOKENS,
    ),
    Mutant(
        "tokens: other users beside the token's own are read",
        "server/canuse_server/api/users/tokens.py",
        "if named_users(method_at(context.path), payload) != {principal.user_id}:",
        "if principal.user_id not in named_users(method_at(context.path), payload):",
        MATRIX,
    ),
    Mutant(
        "tokens: a revoked one is valid",
        "server/canuse_server/api/users/tokens.py",
        "if await context.env.token_generations.get(principal.user_id) != principal.token_generation:",
        "if await context.env.token_generations.get(principal.user_id) is None:",
        TOKENS,
    ),
    Mutant(
        "tokens: one that was changed is valid",
        "server/canuse_server/api/tokens/user_token.py",
        "if key is None or not hmac.compare_digest(mac, _mac(key, signed)):",
        "if key is None:",
        "tests/unit/test_user_tokens.py",
    ),
    Mutant(
        "tokens: another text stands for the same one",
        "server/canuse_server/api/tokens/user_token.py",
        'return content if base64url.encode(content) == text else b""',
        "return content",
        "tests/unit/test_user_tokens.py",
    ),
    Mutant(
        "tokens: an expired one is valid",
        "server/canuse_server/auth/authorizer.py",
        "            raise refusals.expired_token()",
        "            pass",
        TOKENS,
    ),
    Mutant(
        "tokens: one for an environment is valid in the other",
        "server/canuse_server/auth/authorizer.py",
        "return Caller(self._readers[token.environment],",
        "return Caller(self._readers[TEST],",
        TOKENS,
    ),
    Mutant(
        "tokens: those who only read create users",
        "server/canuse_server/auth/authorizer.py",
        "self._readers = {env.environment: env.without_default_package() for env in both}",
        "self._readers = {env.environment: env for env in both}",
        TOKENS,
    ),
    Mutant(
        "tokens: a key of the store that was just created signs at once",
        "server/canuse_server/domain/user_tokens.py",
        "now_ms + (ANNOUNCEMENT_MS if keys else 0)",
        "now_ms",
        "tests/unit/test_user_tokens.py",
    ),
    Mutant(
        "publishable keys: read what is not about the users that a request names",
        "server/canuse_server/auth/authorizer.py",
        "paths &= _PUBLIC_PATHS",
        "pass",
        MATRIX,
    ),
    Mutant(
        "publishable keys: accepted without the setting",
        "server/canuse_server/auth/authorizer.py",
        "if not self._publishable_keys:",
        "if False:",
        "tests/conformance/test_credentials_on_two_servers.py",
    ),
    Mutant(
        "publishable keys: created without the setting",
        "server/canuse_server/api/services/api_keys.py",
        "if is_publishable and not self._publishable_keys:",
        "if False:",
        "tests/conformance/test_credentials_on_two_servers.py",
    ),
    Mutant(
        "documents: written over a change that came after the read",
        f"{SCRIPTS}/apply_catalog.lua",
        "if before ~= ARGV[1] then return '' end",
        "",
        DOCUMENTS_IN_STORE,
    ),
    Mutant(
        "documents: a catalogue that is read while it changes",
        "server/canuse_server/store/repositories/catalog_snapshot.py",
        "if await self._stamp() != stamp:",
        "if False:",
        DOCUMENTS_IN_STORE,
    ),
    Mutant(
        "documents: fields that only a newer version knows are dropped from entries",
        "server/canuse_server/domain/catalog_changes.py",
        "entry if (kept := known.get(entry.feature_id)) != entry else kept for entry",
        "entry for entry",
        DOCUMENTS_IN_STORE,
    ),
    Mutant(
        "documents: the same content is published once more",
        "server/canuse_server/domain/catalog_changes.py",
        "if content is None or (published is not None and same_content(published, content)):",
        "if content is None:",
    ),
    Mutant(
        "documents: a draft that they do not have stays",
        "server/canuse_server/domain/catalog_changes.py",
        "return published, discarded",
        "return (draft, []) if is_left else (published, [])",
        f"{DOCUMENTS}a_package_becomes_what_the_document_says_of_its_versions",
    ),
    Mutant(
        "documents: archived features get into packages again",
        "server/canuse_server/api/catalog/document.py",
        "    return built(may_be_archived=False)",
        "    return content",
        f"{DOCUMENTS}an_archived_feature_stays_in_packages_that_do_not_change[native-valkey]",
    ),
    Mutant(
        "documents: a plan is applied to another catalogue",
        "server/canuse_server/api/services/catalog_service/documents.py",
        "if request.etag and request.etag != etag and not plan.is_empty:",
        "if False:",
        f"{DOCUMENTS}a_plan_is_applied_only_to_the_catalogue_that_it_was_made_for[native-valkey]",
    ),
    Mutant(
        "documents: only subscribers of the last version are counted",
        "server/canuse_server/api/catalog/losses.py",
        "Move(package_id, 0, version) for",
        "Move(package_id, version - 1, version) for",
        f"{DOCUMENTS}subscribers_of_every_earlier_version_are_counted[native-valkey]",
    ),
    Mutant(
        "documents: who has lost a feature already loses it once more",
        "server/canuse_server/api/catalog/losses.py",
        "return entitlement is not None and entitlement.active",
        "return entitlement is not None",
        f"{DOCUMENTS}a_dry_run_counts_who_would_lose_an_archived_feature[native-valkey]",
    ),
    Mutant(
        "retry after: a subscription that ends with the period is counted on",
        "server/canuse_server/domain/entitlements.py",
        "changes_ms != valid_until_ms or (source",
        "True or (source",
        "tests/conformance/test_retry_after.py",
    ),
    Mutant(
        "retry after: units that leases may release are waited for",
        f"{SCRIPTS}/lib/retry.lua",
        "if free then return allowed and moment - now or 0 end",
        "if allowed then return moment - now end",
        "tests/conformance/test_retry_after.py",
    ),
    Mutant(
        "retry after: a grant that ends before is counted on",
        "server/canuse_server/domain/retry.py",
        "        return replace(state, now_ms=moment_ms)",
        "        return state",
        "tests/conformance/test_retry_after.py",
    ),
    Mutant(
        "retry after: a lane gives the same duration again",
        "server/canuse_server/api/hotpath/can_use.py",
        "if not response.startswith(_ACCESS) and _counts_down(response, reply):",
        "if False:",
        "tests/conformance/test_retry_after.py",
    ),
    Mutant(
        "leases: a part releases the rest",
        f"{SCRIPTS}/settle.lua",
        "local released = final and lease.amount or math.min(used, lease.amount)",
        "local released = lease.amount",
        "tests/store/test_lease_machine.py",
    ),
    Mutant(
        "audit: a user changes without an entry",
        f"{SCRIPTS}/apply_user.lua",
        "audit(KEYS[7], ARGV[7], ARGV[8], ARGV[9])",
        "",
        AUDIT,
    ),
    Mutant(
        "audit: an entry of a change that came too late",
        f"{SCRIPTS}/apply_user.lua",
        "~= ARGV[1] then return 0 end",
        "~= ARGV[1] then audit(KEYS[7], ARGV[7], ARGV[8], ARGV[9]) return 0 end",
        AUDIT_IN_STORE,
    ),
    Mutant(
        "audit: a deletion without an entry",
        f"{SCRIPTS}/delete_user.lua",
        "audit(KEYS[4], ARGV[3], ARGV[4], ARGV[5])",
        "",
        AUDIT,
    ),
    Mutant(
        "audit: an entry although nothing changes",
        "server/canuse_server/api/users/audit.py",
        "return entry if entry.user_created or entry.fields or entry.subscription_tokens or entry.grant_ids else None",
        "return entry",
        AUDIT,
    ),
    Mutant(
        "audit: an entry of each token",
        f"{SCRIPTS}/token_generation.lua",
        "if changed == 1 then audit(",
        "if true then audit(",
        AUDIT,
    ),
    Mutant(
        "audit: an entry of a clock that does not move",
        f"{SCRIPTS}/advance_clock.lua",
        "if time > now then audit(",
        "if true then audit(",
        AUDIT,
    ),
    Mutant(
        "audit: entries are kept for ever",
        f"{SCRIPTS}/lib/audit.lua",
        "then how, limit = 'MINID', oldest end",
        "then how = how end",
        AUDIT_IN_STORE,
    ),
    Mutant(
        "audit: a log grows without bound",
        f"{SCRIPTS}/lib/audit.lua",
        "local how, limit = 'MAXLEN', MAX_AUDIT_ENTRIES",
        "local how, limit = 'MINID', '0'",
        AUDIT_IN_STORE,
    ),
    Mutant(
        "audit: entries that are too old are listed",
        "server/canuse_server/store/repositories/audit/log.py",
        "since_ms = max(query.since_ms, now_ms - self._max_age_ms)",
        "since_ms = query.since_ms",
        AUDIT,
    ),
    Mutant(
        "audit: entries of the same time are lost between pages",
        "server/canuse_server/store/repositories/audit/log.py",
        'return end if stream < before.stream else f"({end}"',
        'return f"({end}"',
        AUDIT_IN_STORE,
    ),
    Mutant(
        "audit: a test key sees changes of live keys",
        "server/canuse_server/api/services/audit.py",
        "and (not entry.api_key_id or may_manage(env.environment, entry.environment))",
        "",
        AUDIT,
    ),
    Mutant(
        "audit: the method that records use has entries",
        "server/canuse_server/api/methods.py",
        "audited=not reads and Scope.USAGE_WRITE not in scopes,",
        "audited=not reads,",
        AUDIT,
    ),
    Mutant(
        "audit: a user of the default package has an entry",
        "server/canuse_server/runtime/call_state.py",
        "state = CallState(call.store_deadline, None, call.round_trips)",
        "state = CallState(call.store_deadline, None, call.round_trips, call.author)",
        f"{AUDIT}::test_a_user_of_the_default_package_has_no_entry_by_whatever_call_it_is_created",
    ),
    Mutant(
        "audit: request ids that are not safe to log",
        "server/canuse_server/api/metadata.py",
        "if len(sent) == 1 and isinstance(sent[0], str) and _SAFE_REQUEST_ID.fullmatch(sent[0])",
        "if len(sent) == 1 and isinstance(sent[0], str)",
        "tests/conformance/test_audit_doors.py",
    ),
    Mutant(
        "leases: an extension without the units",
        f"{SCRIPTS}/extend_lease.lua",
        "local refused = more > 0 and reason >= NOT_ENTITLED",
        "local refused = false",
        "tests/store/test_lease_machine.py",
    ),
    Mutant(
        "leases: an extension shortens",
        f"{SCRIPTS}/extend_lease.lua",
        "math.max(lease.expires, ttl > 0 and now + ttl or 0)",
        "ttl > 0 and now + ttl or lease.expires",
        "tests/store/test_lease_machine.py",
    ),
    Mutant(
        "leases: units for a lease of an earlier period",
        f"{SCRIPTS}/extend_lease.lua",
        "if not is_current then return 'P' end",
        "",
        "tests/store/test_lease_machine.py",
    ),
    Mutant(
        "leases: an expired one is extended",
        f"{SCRIPTS}/extend_lease.lua",
        "if lease.state ~= OPEN then return 'N' end",
        "",
        "tests/store/test_lease_machine.py",
    ),
    Mutant(
        "client: calls that record are repeated without an event id",
        "client/canuse/_retry.py",
        "and _is_safe_by_event_id(kind)",
        "and False",
        RETRIES,
    ),
    Mutant(
        "client: changes that may count twice are repeated",
        "client/canuse/_retry.py",
        "if self._safety is Safety.NONE:",
        "if self._safety is None:",
        RETRIES,
    ),
    Mutant(
        "client: the last attempt hides that an earlier one may have written",
        "client/canuse/_retry.py",
        "return self._first if isinstance(error, Unavailable | Overloaded) else error",
        "return error",
        RETRIES,
    ),
    Mutant(
        "client: retries have no budget",
        "client/canuse/_retry.py",
        "or not self._budget.take()",
        "or (self._budget.take() and False)",
        RETRIES,
    ),
    Mutant(
        "client: gRPC repeats each attempt, too",
        "client/canuse/_channel.py",
        'return list((_OPTIONS | {"grpc.service_config": json.dumps(_BALANCING)} | dict(options)).items())',
        'return list((_OPTIONS | {"grpc.service_config": service_config(retry_uses=True)} | dict(options)).items())',
        RETRIES,
    ),
    Mutant(
        "client: retries do not wait for a restarted server",
        "client/canuse/_retry.py",
        "limits = (timeout_seconds, self.policy.max_seconds, retry_seconds)",
        "limits = (0.1, self.policy.max_seconds, retry_seconds)",
        "tests/faults/test_client_restart.py::test_a_graceful_restart_of_the_only_server_fails_no_call_and_counts_each_use_once",
    ),
    Mutant(
        "client: asyncio is used after a fork that it does not survive",
        "client/canuse/_fork.py",
        "if self.opened_aio:",
        "if False:",
        FORKS,
    ),
    Mutant(
        "client: gRPC is used after a fork during calls",
        "client/canuse/_fork.py",
        "elif in_flight:",
        "elif False:",
        FORKS,
    ),
    Mutant(
        "client: a forked process uses the connection of its parent",
        "client/canuse/_fork.py",
        "self.generation += 1",
        "self.generation += 0",
        FORKS,
    ),
    Mutant(
        "client: a block starts with fewer units than it needs",
        "client/canuse/_sync/using.py",
        "min_amount=delta",
        "min_amount=1",
        USING,
    ),
    Mutant(
        "client: a block that fails keeps its units",
        "client/canuse/_sync/using.py",
        "_requests.settle(lease_id, 0, final=True",
        "_requests.settle(lease_id, 0, final=False",
        USING,
    ),
    Mutant(
        "client: an unknown user is let in while canuse answers",
        "client/canuse/_unavailable.py",
        'if word == "raise" or not is_no_answer(error):\n            raise error',
        'if word == "raise":\n            raise error',
        UNAVAILABLE,
    ),
    Mutant(
        "client: the last known counts allow any amount",
        "client/canuse/_unavailable.py",
        "counts.remaining >= delta",
        "counts.remaining > 0",
        UNAVAILABLE,
    ),
    Mutant(
        "client: a check waits for its deadline although nothing answers",
        "client/canuse/_unavailable.py",
        "return RETRY_SECONDS if self._is_reached else 0.0",
        "return RETRY_SECONDS",
        UNAVAILABLE,
    ),
    Mutant(
        "console: the session of before goes on after a login",
        f"{CONSOLE}/sessions.py",
        "await self.log_out(before)",
        "pass",
        f"{SESSIONS}a_session_has_a_new_id_and_the_one_before_ends",
    ),
    Mutant(
        "console: a form without its token",
        f"{CONSOLE}/sessions.py",
        "return not self.is_new and hmac.compare_digest(self.form_token.encode(), token.encode())",
        "return True",
        f"{SESSIONS}a_form_without_the_token_of_its_visitor_changes_nothing",
    ),
    Mutant(
        "console: the session's id is in the store",
        f"{CONSOLE}/sessions.py",
        "return sha256(session_id.encode()).hexdigest()",
        "return session_id",
        f"{SESSIONS}the_store_has_neither_the_cookie_nor_the_key_and_forgets_the_session",
    ),
    Mutant(
        "console: a session without an end",
        "server/canuse_server/store/repositories/console_sessions.py",
        ', "EX", str(LIFETIME_SECONDS)',
        "",
        f"{SESSIONS}the_store_has_neither_the_cookie_nor_the_key_and_forgets_the_session",
    ),
    Mutant(
        "console: a session goes on when its key has expired",
        "server/canuse_server/auth/authorizer.py",
        "            raise refusals.no_secret_key()\n        if self._is_expired(caller):",
        "            raise refusals.no_secret_key()\n        if False:",
        f"{SESSIONS}the_session_ends_with_its_key",
    ),
    Mutant(
        "console: a publishable key logs in",
        "server/canuse_server/auth/authorizer.py",
        "if caller.principal.kind is not CredentialKind.SECRET_KEY:",
        "if False:",
        f"{SESSIONS}a_key_that_is_wrong_or_cannot_log_in_gets_no_session",
    ),
    Mutant(
        "console: the form leads to another site",
        f"{CONSOLE}/addresses.py",
        "return target.isascii()",
        "return True or target.isascii()",
        f"{SESSIONS}the_form_leads_back_to_pages_of_the_console_only",
    ),
    Mutant(
        "console: on an address that others reach, without keys",
        "server/canuse_server/app/http_port.py",
        "if settings.tls_certificate is not None and not settings.insecure_no_auth:",
        "if settings.tls_certificate is not None:",
        f"{SESSIONS}with_tls_but_without_keys_there_is_no_console_on_an_address_that_others_reach",
    ),
    Mutant(
        "console: what callers choose is markup",
        f"{CONSOLE}/rendering.py",
        "autoescape=True",
        "autoescape=False",
        f"{PAGES}a_text_that_callers_choose_is_shown_as_it_is",
    ),
    Mutant(
        "console: a page is offered that the key does not permit",
        f"{CONSOLE}/calls.py",
        "path in self._caller.paths and ",
        "",
        f"{PAGES}what_a_key_does_not_permit_is_not_offered_and_refused_all_the_same",
    ),
    Mutant(
        "console: opening a page creates a user",
        f"{CONSOLE}/calls.py",
        "context.env = context.env.without_default_package()",
        "pass",
        f"{PAGES}a_page_does_nothing_by_being_opened_also_with_a_default_package",
    ),
    Mutant(
        "console: the store's password is shown",
        "server/canuse_server/app/http_port.py",
        "if field.repr",
        "if field",
        f"{PAGES}the_server_page_has_the_settings_but_no_password",
    ),
    Mutant(
        "lists: leases from the first one again",
        "server/canuse_server/store/repositories/leases.py",
        "if after is None or place > after",
        "if True",
        f"{LEASES}many_leases_that_expire_at_the_same_time_are_listed_once_each[native-valkey]",
    ),
    Mutant(
        "lists: leases that have expired",
        "server/canuse_server/store/repositories/leases.py",
        "if value[0] != OPEN or expires_at_ms <= now_ms:",
        "if value[0] != OPEN:",
        f"{LEASES}open_leases_are_listed_in_the_order_in_which_they_expire[native-valkey]",
    ),
    Mutant(
        "lists: no more leases after a thousand that expire together",
        "server/canuse_server/store/repositories/leases.py",
        "skip = 0 if following else skip + len(places)",
        "skip = 0 if following else skip",
        f"{LEASES}more_leases_than_are_read_at_a_time_may_expire_at_the_same_time[native-valkey]",
    ),
    Mutant(
        "trimming: the last events of an idle bucket stay",
        f"{SCRIPTS}/trim_ledger.lua",
        "return { redis.call('XTRIM', KEYS[1], 'MINID', '=', oldest), 0 }",
        "return { 0, 0 }",
        TRIMMING,
    ),
    Mutant(
        "trimming: an event leaves the ledger a moment too early",
        f"{SCRIPTS}/trim_ledger.lua",
        "clock(ARGV[1]) - ARGV[2])",
        "clock(ARGV[1]) + 1 - ARGV[2])",
        TRIMMING,
    ),
    Mutant(
        "trimming: past periods are removed before it is time",
        f"{SCRIPTS}/trim_past_periods.lua",
        "history.tidied(past, kept_days, now)",
        "history.tidied(past, kept_days - 40, now)",
        "tests/model/test_trimming.py",
    ),
    Mutant(
        "trimming: only the first features of a user",
        "server/canuse_server/store/trimming/slices.py",
        "return None if following == LAST_CURSOR.encode() else",
        "return None if following else",
        TRIMMING,
    ),
    Mutant(
        "trimming: no lease is released",
        "server/canuse_server/store/trimming/slices.py",
        'if found[2] == b"t" and',
        'if found[2] == b"l" and',
        TRIMMING,
    ),
    Mutant(
        "trimming: two servers have the turn",
        f"{SCRIPTS}/trim_turn.lua",
        "(redis.call('GET', KEYS[1]) or ARGV[1]) == ARGV[1]",
        "true",
        TRIMMING,
    ),
    Mutant(
        "trimming: a pass of a server that has ended begins anew",
        "server/canuse_server/store/trimming/trimmer.py",
        "if not progress.started_ms:",
        "if True:",
        TRIMMING,
    ),
    Mutant(
        "local leases: used up to their expiry from the answer on",
        f"{LENDING}/holding.py",
        "self._expires_at = call.made_at + self",
        "self._expires_at = self.now() + self",
        f"{ACCOUNT}a_lease_is_used_for_its_time_from_before_the_request_was_sent",
    ),
    Mutant(
        "local leases: used up to the end of the period from the answer on",
        f"{LENDING}/holding.py",
        "self._period_ends_at = call.made_at + (",
        "self._period_ends_at = self.now() + (",
        f"{ACCOUNT}a_lease_is_used_up_to_the_end_of_its_period_from_before_the_request_was_sent",
    ),
    Mutant(
        "local leases: more is used than was granted",
        f"{LENDING}/units.py",
        "if left < 0 or",
        "if left < -3 or",
        "tests/leases/test_soak.py",
    ),
    Mutant(
        "local leases: another report in place of one in doubt",
        f"{LENDING}/account.py",
        "                self.due_at, self.low = now",
        "                self.open = None\n                self.due_at, self.low = now",
        f"{ACCOUNT}a_settlement_in_doubt_is_made_again_as_it_was_before_anything_else",
    ),
    Mutant(
        "local leases: each attempt of a report with an id of its own",
        f"{LENDING}/calls.py",
        "            final=self.final,\n            event_id=self.event_id,",
        "            final=self.final,\n            event_id=_event_id(),",
        "tests/leases/test_lost_answers.py",
    ),
    Mutant(
        "local leases: what was used of a lease that is gone is dropped",
        f"{LENDING}/account.py",
        "if isinstance(error, NotFound) and call.used:",
        "if False:",
        f"{ACCOUNT}what_was_used_of_a_lease_that_is_gone_is_recorded_as_an_event_under_the_same_id",
    ),
    Mutant(
        "local leases: the client's own units make the last uses a no",
        f"{LENDING}/table.py",
        "return account if is_missing or account.unreported else None",
        "return None",
        f"{LOCAL}the_whole_budget_can_be_used_and_nothing_above_it",
    ),
    Mutant(
        "local leases: binary features cached for ever",
        f"{LENDING}/table.py",
        "stale_at = asked_at + lease.max_stale_seconds",
        "stale_at = asked_at + 1000",
        f"{LOCAL}binary_and_unlimited_features_are_cached_for_a_stated_time",
    ),
    Mutant(
        "local leases: nothing is settled at the end of the process",
        f"{LENDING}/ending.py",
        "    atexit.register(settle_all)\n",
        "",
        f"{ENDING}the_end_of_the_process_settles",
    ),
    Mutant(
        "local leases: SIGTERM is not handled",
        f"{LENDING}/ending.py",
        "        _sigterm.install()",
        "        pass",
        f"{ENDING}sigterm_settles_and_ends_the_process_by_the_signal",
    ),
    Mutant(
        "local leases: the handler for SIGTERM that was there is not called",
        f"{LENDING}/ending.py",
        "            self.before(number, frame)",
        "            pass",
        f"{ENDING}a_handler_of_the_program_for_sigterm_is_called",
    ),
    Mutant(
        "local leases: a fork uses the leases of its parent",
        f"{LENDING}/ending.py",
        "        worker.after_fork()",
        "        pass",
        f"{ENDING}a_forked_process_has_leases_of_its_own",
    ),
)

UNBROKEN: Final = "nothing is broken"
OUTPUT_CHARS: Final = 4000
"""How much is shown of a test that fails although nothing is broken."""


def main(words: list[str]) -> int:
    """Run the selected breaks; return the exit status."""
    for mutant in MUTANTS:
        broken(mutant, ROOT)
    with TemporaryDirectory() as folder:
        tree = Path(folder) / "canuse"
        for name in COPIED:
            copy(name, tree)
        chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
        unbroken = () if words else dict.fromkeys(mutant.test for mutant in MUTANTS)
        failed = [test for test in unbroken if not passes(tree, test, UNBROKEN)]
        if failed:
            print(f"these tests fail although nothing is broken: {failed}")
            return 1
        survivors = [mutant.name for mutant in chosen if survives(tree, mutant)]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} breaks were noticed")
    return 1 if survivors else 0


def copy(name: str, tree: Path) -> None:
    """Copy a file or folder of the project into a tree."""
    if (ROOT / name).is_dir():
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(ROOT / name, tree / name)


def broken(mutant: Mutant, tree: Path) -> str:
    """Return the text of the file with the mutation."""
    text = (tree / mutant.file).read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise SystemExit(
            f"{mutant.name}: {mutant.file} must contain this once, not {text.count(mutant.old)} times: {mutant.old}"
        )
    return text.replace(mutant.old, mutant.new)


def survives(tree: Path, mutant: Mutant) -> bool:
    """Break the tree, run the test that must fail, and restore the tree; return whether the test passed."""
    path = tree / mutant.file
    text = path.read_text(encoding="utf-8")
    path.write_text(broken(mutant, tree), encoding="utf-8")
    try:
        return passes(tree, mutant.test, mutant.name)
    finally:
        path.write_text(text, encoding="utf-8")


def passes(tree: Path, test: str, name: str) -> bool:
    """Run a test on a tree, print its result in a line, and return whether it passed."""
    paths = os.pathsep.join(str(tree / part) for part in ("client", "server"))
    env = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "MODEL_SHRINK": "0"}
    start = time.monotonic()
    found = subprocess.run(
        [sys.executable, "-c", "import canuse_server; print(canuse_server.__file__)"],
        cwd=tree, env=env, check=True, capture_output=True, text=True,
    )  # fmt: skip
    if not found.stdout.startswith(str(tree)):
        raise SystemExit(f"the tests would use {found.stdout}, not the copy")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test]
    result = subprocess.run(command, cwd=tree, env=env, check=False, capture_output=True, text=True)
    if result.returncode not in (0, 1):
        raise SystemExit(f"{name}: the test could not be run\n{result.stdout}{result.stderr}")
    verdict = "green" if result.returncode == 0 else "red"
    print(f"{verdict:<6} {time.monotonic() - start:5.0f} s  {name}", flush=True)
    if name == UNBROKEN and result.returncode:
        print(result.stdout[-OUTPUT_CHARS:], flush=True)
    return result.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
