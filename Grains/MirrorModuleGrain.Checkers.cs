using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;

namespace Pollux.Grains;

/// <summary>The module's checkers: part of its spec, tested by its hosts.</summary>
public sealed partial class MirrorModuleGrain
{
    public async Task<Outcome> SetCheckerAsync(Checker checker)
    {
        if (await NotTakingAsync() is { } problem) return Outcome.Refused(problem);
        var spec = _state.Value.Spec!;
        if (CheckerCommand.Check(Key, spec, checker) is { } bad) return Outcome.Refused(bad);
        if (!spec.CheckersInForce.Contains(checker))
        {
            var next = _state.Value with { Spec = spec with { Checkers = CheckerCommand.Set(spec.CheckersInForce, checker) } };
            await _state.SaveAsync(WithHistory(next, "checker", Asker, $"{AskerInWords} set: {CheckerCommand.Tell(checker)}."));
        }

        await HintHostsAsync();
        return Outcome.Done;
    }

    public async Task<Outcome> RemoveCheckerAsync(string name)
    {
        if (await NotTakingAsync() is { } problem) return Outcome.Refused(problem);
        var spec = _state.Value.Spec!;
        if (spec.CheckersInForce.All(checker => checker.Name != name)) return Outcome.Refused(Problems.CheckerUnknown(Key, name));
        var next = _state.Value with { Spec = spec with { Checkers = CheckerCommand.Remove(spec.CheckersInForce, name) } };
        await _state.SaveAsync(WithHistory(next, "checker", Asker, $"{AskerInWords} removed the checker {name}."));
        await HintHostsAsync();
        return Outcome.Done;
    }
}
