-- bind_operation(operation_id, fingerprint, kept_ms) recorded
--
-- Bind an idempotency key to the arguments of its call, before the call runs in a partition that they decide.
--
-- Returns {code, now, ''}: 'ok', 'replayed', or 'idempotency_key_reused'

return record_reply(operation_id, fingerprint, kept_ms, {'ok', at, ''})
