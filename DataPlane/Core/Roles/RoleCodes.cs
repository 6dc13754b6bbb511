namespace Pollux.DataPlane.Core.Roles;

/// <summary>The stable codes of <see cref="RoleView.Code"/>.</summary>
public static class RoleCodes
{
    public const string Starting = "role.starting";
}
