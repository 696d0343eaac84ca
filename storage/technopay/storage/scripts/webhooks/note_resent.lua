-- note_resent(operation_id, fingerprint, kept_ms, resent) recorded
--
-- Record how many dead deliveries a call sent again; '-1' before it begins.
--
-- Returns {code, now, '', [how many]}; 'nothing' if the call has no record yet

if resent == '-1' then
    return {'nothing', at, ''}
end
return record_reply(operation_id, fingerprint, kept_ms, {'ok', at, '', {resent}})
