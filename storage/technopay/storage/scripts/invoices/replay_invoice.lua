-- replay_invoice(operation_id, fingerprint, kept_ms) recorded
--
-- Return the recorded reply to an earlier call that created an invoice; create nothing.
--
-- Returns {code, now, ''}: 'nothing' when there was none

return {'nothing', at, ''}
