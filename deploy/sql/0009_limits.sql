-- Numbers of an organization's own, in place of those that its plan or the policy states: an object
-- from names of limits to `"500/s"`, or to `{"rate": "500/s", "burst": 1000}`.

alter table tollgate.organizations
    add column if not exists limits jsonb not null default '{}'
        constraint organizations_limits_are_an_object check (jsonb_typeof(limits) = 'object');
