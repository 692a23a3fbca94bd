-- Roles that identity providers say.

alter table tollgate.organization_members
    -- When the token was issued that said the role; null: no token said it.
    add column if not exists role_as_of timestamptz;
