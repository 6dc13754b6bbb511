using Pollux.DataPlane.Core.Checkers;

namespace Pollux.DataPlane.Checkers;

/// <summary>Makes one test.</summary>
public interface IProbe
{
    /// <summary>Ends within the timeout of the checker, whatever is tested, and leaves nothing open. The guest's agent has whole seconds, and five more
    /// to synchronise with libvirt.</summary>
    /// <exception cref="OperationCanceledException">By <paramref name="cancel"/>.</exception>
    Task<CheckResult> TestAsync(CheckerSpec checker, CancellationToken cancel);
}
