namespace Pollux.DataPlane.Core.Checkers;

public enum CheckOutcome
{
    Well,
    Failed,

    /// <summary>It could not be tested: counts neither as well nor as failed.</summary>
    Unable,
}

/// <summary>How one test ended.</summary>
/// <param name="Reason">In words; empty if all is well.</param>
public readonly record struct CheckResult(CheckOutcome Outcome, string Reason)
{
    public static readonly CheckResult Well = new(CheckOutcome.Well, "");

    public static CheckResult Failed(string reason) => new(CheckOutcome.Failed, reason);

    public static CheckResult Unable(string reason) => new(CheckOutcome.Unable, reason);
}
