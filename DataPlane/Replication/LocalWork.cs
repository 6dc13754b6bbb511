using Pollux.DataPlane.Loop;

namespace Pollux.DataPlane.Replication;

/// <summary>A step that may block: done by the disk lane, answered on the loop's thread.</summary>
internal abstract class LocalWork(EngineShell shell) : LoopWork
{
    private bool _done;

    protected EngineShell Shell => shell;

    /// <summary>On a thread of the lane.</summary>
    protected abstract void Perform();

    /// <summary>On the loop's thread.</summary>
    protected abstract void Answer();

    public override void Execute()
    {
        if (!_done)
        {
            Perform();
            _done = true;
            // A loop that has ended takes no answers; its end has been told as a fault.
            _ = shell.Place.Loop.Post(this);
            return;
        }
        _done = false;
        if (shell.LocalWorkEnded())
            Answer();
    }
}

/// <summary>A step that is too rare for a class of its own.</summary>
internal sealed class LocalStep<T>(EngineShell shell, Func<T> perform, Action<T> answer) : LocalWork(shell)
{
    private T _result = default!;

    protected override void Perform() => _result = perform();

    protected override void Answer() => answer(_result);
}
