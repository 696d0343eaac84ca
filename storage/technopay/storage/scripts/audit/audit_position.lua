-- audit_position() no-writes
--
-- Read how far the journal and the relay have come.
--
-- Returns {code, now, '', position, position of the relay}

return {'ok', at, '', position(), fields('relay', nil, 'cursor') or '0-0'}
