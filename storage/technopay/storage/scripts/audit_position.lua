-- audit_position(keys=[journal], args=[])
--
-- Read how far the journal and the relay have come.
--
-- Returns {code, now, '', position, position of the relay}
--@include base
--@include position

return {'ok', at, '', position(), fields('relay', nil, 'cursor') or '0-0'}
