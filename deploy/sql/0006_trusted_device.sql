-- For how long a trusted device of a member stands in for the second factor that the organization
-- asks of its members; where it is not stated, none does.

alter table tollgate.organizations
    add column if not exists trusted_device interval
        constraint organizations_trusted_device_is_ahead check (trusted_device > interval '0');
