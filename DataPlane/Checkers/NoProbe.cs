using Pollux.DataPlane.Core.Checkers;

namespace Pollux.DataPlane.Checkers;

/// <summary>For a runtime without a host around it.</summary>
internal sealed class NoProbe : IProbe
{
    public static readonly NoProbe Instance = new();

    public Task<CheckResult> TestAsync(CheckerSpec checker, CancellationToken cancel) => Task.FromResult(CheckResult.Unable("This process tests nothing."));
}
