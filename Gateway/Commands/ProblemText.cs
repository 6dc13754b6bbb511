using Pollux.Grains.Abstractions;

namespace Pollux.Gateway.Commands;

/// <summary>A problem as people read it on a terminal.</summary>
internal static class ProblemText
{
    /// <param name="indent">Before each line.</param>
    public static string Of(Problem problem, string indent, string? where = null) =>
        $"{indent}! {problem.Code}: {problem.Title}{(where is null ? "" : $" ({where})")}\n"
        + $"{indent}    impact  {problem.Impact}\n{indent}    cause   {problem.Cause}\n{indent}    action  {problem.Action}\n";
}
