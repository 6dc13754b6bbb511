namespace Pollux.DataPlane.Core.Replication;

/// <summary>Bytes that the shell owns: the engine passes the name on and never looks at them.</summary>
/// <param name="Buffer">Which of the shell's buffers; the shell chooses the numbers.</param>
/// <param name="Offset">First byte within the buffer.</param>
/// <param name="Length">Bytes.</param>
/// <remarks>
/// <para>Who keeps the bytes, and until when:</para>
/// <list type="bullet">
/// <item>Given with <see cref="SourceMachine.Write"/>: until the machine completes the operation, and beyond that until the shell itself has
/// executed every effect that named it before (a mirrored write that nobody waits for may still be queued for sending).</item>
/// <item>Given with a frame to <see cref="ReplicaMachine.FrameArrived"/>: until the answer to the <see cref="ILocalCopy.LocalWrite"/> that
/// names it; a frame that caused none is done with when the call returns.</item>
/// <item>Given with <see cref="SourceMachine.LocalCopyRead"/> or <see cref="SourceMachine.LocalRepairRead"/>: until
/// <see cref="ILocalCopy.ReleaseData"/>, and the sends before it are executed.</item>
/// </list>
/// </remarks>
public readonly record struct DataRef(int Buffer, int Offset, int Length);
