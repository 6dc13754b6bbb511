namespace Pollux.DataPlane.Core.Roles;

/// <summary>What a code means to those who use the module.</summary>
public enum RoleImpact
{
    /// <summary>The module runs and both hosts hold every acknowledged write.</summary>
    None,

    /// <summary>The module runs (or will, on the peer); the loss of one more host stops it.</summary>
    NotProtected,

    /// <summary>The module runs; writes wait.</summary>
    WritesHeld,

    /// <summary>The VM is paused: its memory is kept, it does not execute.</summary>
    Paused,

    /// <summary>The module does not run on this host, and not by anybody's wish.</summary>
    NotRunning,

    /// <summary>The module does not run on this host, as it should be.</summary>
    ByCommand,
}

/// <summary>A state of the role that an operator may ask about.</summary>
/// <param name="Code">Stable; shown alike by API, command line, console, log and metric.</param>
/// <param name="Title">What happened.</param>
/// <param name="Cause">The likely cause.</param>
/// <param name="Action">The next action.</param>
public sealed record RoleProblem(string Code, string Title, RoleImpact Impact, string Cause, string Action);
