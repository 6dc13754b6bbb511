using System.Diagnostics;

namespace Pollux.Lab;

/// <summary>What a finished command left behind.</summary>
public sealed record ShellResult(string Command, int ExitCode, string Output, string Error)
{
    public bool Succeeded => ExitCode == 0;

    /// <summary>Everything the command said, for messages.</summary>
    public string Said => string.Join('\n', new[] { Output.Trim(), Error.Trim() }.Where(text => text.Length > 0));

    /// <exception cref="LabException">The command exited with another code than 0.</exception>
    public ShellResult OrThrow() => Succeeded
        ? this
        : throw new LabException($"'{Command}' exited with {ExitCode}: {Said}");
}

/// <summary>Runs programs of the machine with a deadline; arguments are passed one by one, never through a shell.</summary>
public static class Shell
{
    public static readonly TimeSpan DeadlineDefault = TimeSpan.FromSeconds(30);

    /// <summary>Runs a program to its end and returns what it said, whatever its exit code.</summary>
    /// <exception cref="LabException">The program did not end within the deadline (it is killed) or could not start.</exception>
    public static async Task<ShellResult> RunAsync(
        IReadOnlyList<string> command, TimeSpan? deadline = null, string? input = null, CancellationToken cancellation = default)
    {
        var limit = deadline ?? DeadlineDefault;
        var text = string.Join(' ', command);
        var start = new ProcessStartInfo(command[0])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var argument in command.Skip(1))
            start.ArgumentList.Add(argument);
        using var process = Start(start, text);
        using var timer = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        timer.CancelAfter(limit);
        try
        {
            var output = process.StandardOutput.ReadToEndAsync(timer.Token);
            var error = process.StandardError.ReadToEndAsync(timer.Token);
            if (input is not null)
                await process.StandardInput.WriteAsync(input.AsMemory(), timer.Token);
            process.StandardInput.Close();
            await process.WaitForExitAsync(timer.Token);
            return new ShellResult(text, process.ExitCode, await output, await error);
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            process.Kill(entireProcessTree: true);
            throw new LabException($"'{text}' did not end within {limit.TotalSeconds:0.#} s.");
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw;
        }
    }

    /// <summary>Runs a program that has to succeed.</summary>
    /// <exception cref="LabException">It did not, or not within the default deadline.</exception>
    public static async Task<ShellResult> CheckAsync(params string[] command) => (await RunAsync(command)).OrThrow();

    private static Process Start(ProcessStartInfo start, string text)
    {
        try
        {
            return Process.Start(start) ?? throw new LabException($"'{text}' did not start.");
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw new LabException($"'{text}' cannot start: {e.Message}. 'eng/setup' installs what is missing.", e);
        }
    }
}
