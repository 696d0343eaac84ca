-- read_created_invoice(operation_id, fingerprint, kept_ms) no-writes
--
-- Read the recorded reply to an earlier call that created an invoice.
--
-- Returns {code, now, ''}: 'nothing' when there was none

return recorded_reply(operation_id, fingerprint) or {'nothing', at, ''}
