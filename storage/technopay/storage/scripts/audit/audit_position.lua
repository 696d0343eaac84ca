-- audit_position() no-writes
--
-- Read the positions of the journal and the relay.
--
-- Returns {code, now, '', position, position of the relay}

return {'ok', at, '', position(), fields('relay', nil, 'cursor') or '0-0'}
