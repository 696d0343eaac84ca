-- read_created_invoice(operation_id, fingerprint, kept_ms, user_id, expires_at) no-writes
--
-- Read the recorded reply to an earlier call that created an invoice, else the refusal of a new one, before its reference
-- is reserved.
--
-- Returns {code, now, ''}: 'nothing' when there is neither

return recorded_reply(operation_id, fingerprint) or {creation_refusal(user_id, expires_at) or 'nothing', at, ''}
